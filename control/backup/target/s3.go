package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucketStore keeps objects in a bucket of an S3-compatible store. An object
// of several parts appears when the last part is confirmed, so it is whole;
// the parts of an interrupted upload are removed by Abandon, and a rule of the bucket
// that ends incomplete uploads is a good second net.
type bucketStore struct {
	c      Config
	client *minio.Client
	prefix string // "" or ending in a slash
}

const (
	// partBytes is the memory one upload needs. A store takes at most
	// maxParts parts, so larger objects have larger parts.
	partBytes = 8 << 20
	maxParts  = 10000
	// storeRetries of one request; what asks for more repeats the whole.
	storeRetries = 4
	// silence is how long a store may take to begin an answer.
	silence = 60 * time.Second
)

var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func newS3(c Config) (*bucketStore, error) {
	fail := func(why string) (*bucketStore, error) { return nil, fmt.Errorf("%s: %w", why, ErrConfig) }
	switch {
	case c.Endpoint == "" || strings.ContainsAny(c.Endpoint, "/ @?#"):
		return fail("endpoint is host or host:port, without https:// and path")
	case !bucketForm.MatchString(c.Bucket):
		return fail("bucket is 3 to 63 of a-z, 0-9, dot and dash")
	case c.AccessKey == "" || c.SecretKey == "":
		return fail("access key and secret key are needed")
	case checkPrefix(strings.Trim(c.Prefix, "/")) != nil:
		return fail("prefix is made of a-z, 0-9, dot, dash, underscore and slash")
	case c.PlainHTTP && !loopback(c.Endpoint):
		return fail("plain HTTP is only for a store on this machine")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = silence
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(c.CA)) {
			return fail("the authority is not PEM")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	lookup := minio.BucketLookupAuto
	if c.PlainHTTP {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(c.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: !c.PlainHTTP,
		Region: c.Region, Transport: transport, BucketLookup: lookup, MaxRetries: storeRetries})
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w (%w)", c.Endpoint, ErrConfig, err)
	}
	s := &bucketStore{c: c, client: client, prefix: strings.Trim(c.Prefix, "/")}
	if s.prefix != "" {
		s.prefix += "/"
	}
	return s, nil
}

func loopback(endpoint string) bool {
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		host = endpoint
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// storeError says in words what the store answered.
func (s *bucketStore) storeError(what string, err error) error {
	if err == nil {
		return nil
	}
	var text string
	switch res := minio.ToErrorResponse(err); res.Code {
	case "NoSuchKey", "NoSuchUpload":
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	case "NoSuchBucket":
		text = "there is no bucket " + s.c.Bucket + "; make it first"
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
		text = "the store refused the credentials (" + res.Code + "); check the keys and what they may do in bucket " + s.c.Bucket
	case "RequestTimeTooSkewed":
		text = "this host's clock differs too much from the store's"
	case "":
		return fmt.Errorf("%s at %s: %w", what, s.c.Endpoint, err)
	default:
		text = "the store answered " + res.Code + " " + res.Message
	}
	return fmt.Errorf("%s: %s", what, text)
}

// Put implements Target.
func (s *bucketStore) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := checkName(name); err != nil {
		return err
	}
	part := uint64(max(partBytes, (size/maxParts+1<<20)&^(1<<20-1)))
	in := &counted{r: &contextReader{ctx, r}}
	// Each part is sent with a hash of its own, which the signature covers.
	_, err := s.client.PutObject(ctx, s.c.Bucket, s.prefix+name, in, size,
		minio.PutObjectOptions{ContentType: "application/octet-stream", SendContentMd5: true, DisableContentSha256: true, PartSize: part})
	if err == nil {
		if n, rerr := in.Read(make([]byte, 1)); n > 0 {
			err = fmt.Errorf("more than the announced %d bytes came", size)
		} else if rerr != nil && rerr != io.EOF {
			err = rerr
		}
	}
	if err == nil {
		return nil
	}
	// The library gives up with the context that may be the reason.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
	defer cancel()
	if aerr := s.Abandon(clean, name); aerr != nil {
		err = errors.Join(err, aerr)
	}
	if in.err != nil { // what was read failed, not the store
		return fmt.Errorf("write %s to the target: %w", name, in.err)
	}
	return s.storeError("write "+name+" to the target", err)
}

// counted keeps the error of what it reads.
type counted struct {
	r   io.Reader
	err error
}

// Read reads and keeps an error that is not the end.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// Get implements Target.
func (s *bucketStore) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	o, err := s.client.GetObject(ctx, s.c.Bucket, s.prefix+name, minio.GetObjectOptions{})
	if err == nil {
		_, err = o.Stat() // the request is made only now
	}
	if err != nil {
		return nil, s.storeError("read "+name+" from the target", err)
	}
	return o, nil
}

// List implements Target.
func (s *bucketStore) List(ctx context.Context, prefix string) ([]Object, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the listing's goroutine
	defer cancel()
	var out []Object
	for o := range s.client.ListObjects(ctx, s.c.Bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, s.storeError("list the target", o.Err)
		}
		name := strings.TrimPrefix(o.Key, s.prefix)
		if checkName(name) == nil && name != healthName {
			out = append(out, Object{Name: name, Bytes: o.Size, Changed: o.LastModified})
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Delete implements Target.
func (s *bucketStore) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := s.storeError("delete "+name+" from the target", s.client.RemoveObject(ctx, s.c.Bucket, s.prefix+name, minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Abandon implements Target.
func (s *bucketStore) Abandon(ctx context.Context, name string) error {
	if err := s.Delete(ctx, name); err != nil {
		return err
	}
	err := s.storeError("end the interrupted upload of "+name, s.client.RemoveIncompleteUpload(ctx, s.c.Bucket, s.prefix+name))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Health implements Target.
func (s *bucketStore) Health(ctx context.Context) error { return checkHealth(ctx, s) }
