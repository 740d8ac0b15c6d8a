// Package target puts backups somewhere and finds them again: a directory on
// an agent's host, or a bucket of an S3-compatible store. An object is there
// as a whole or not at all; what an interrupted Put left behind is never
// listed and is removed by Abandon.
//
// Every kind passes the suite in targettest. A Target may be used from many
// goroutines.
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// Kinds of targets.
const (
	KindDirectory = "directory"
	KindS3        = "s3"
)

// Errors of a Target.
var (
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("there is no such object in the target")
	// ErrName: the name is not one of ours.
	ErrName = errors.New("an object's name is made of parts of a-z, 0-9, dot, dash and underscore, parted by slashes")
	// ErrConfig: the description of the target is not usable.
	ErrConfig = errors.New("the target is not described well")
	// ErrFull: there is no room for the object.
	ErrFull = errors.New("there is not enough room in the target")
)

// Object is one object of a target.
type Object struct {
	Name    string
	Bytes   int64
	Changed time.Time
}

// Target keeps objects. Names are "cluster/backup.suffix".
type Target interface {
	// Put stores what r gives, exactly size > 0 bytes, durably and as a whole.
	// An object of the name is replaced. After an error there is none of
	// these bytes to be seen.
	Put(ctx context.Context, name string, size int64, r io.Reader) error
	// Get opens an object. ErrNotFound.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the objects whose name begins with prefix, sorted by name.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Abandon removes what an interrupted Put of name left behind, and the object.
	Abandon(ctx context.Context, name string) error
	// Health writes, reads and removes a small object of its own.
	Health(ctx context.Context) error
}

// Config describes a target. It holds the credentials: it is stored and sent
// only sealed.
type Config struct {
	Kind string `json:"kind"`
	// Path is the directory, absolute, on the host of the agent that works
	// with it: several hosts share it only when it is a mount they share.
	Path string `json:"path,omitempty"`
	// Endpoint is host or host:port of an S3-compatible store.
	Endpoint string `json:"endpoint,omitempty"`
	Bucket   string `json:"bucket,omitempty"`
	Region   string `json:"region,omitempty"`
	// Prefix goes before every name in the bucket, "" for none.
	Prefix    string `json:"prefix,omitempty"`
	AccessKey string `json:"accessKey,omitempty"`
	SecretKey string `json:"secretKey,omitempty"`
	// PlainHTTP turns TLS off: only for a store on this machine.
	PlainHTTP bool `json:"plainHttp,omitempty"`
	// CA is the PEM of an authority beside the system's, "" for none.
	CA string `json:"ca,omitempty"`
}

// String and GoString never show the secret key.
func (c Config) String() string {
	if c.Kind == KindS3 {
		return "s3 " + c.Location()
	}
	return c.Kind + " " + c.Location()
}

// GoString keeps %#v from printing the secret key.
func (c Config) GoString() string { return c.String() }

// Location says where it is, for people, without credentials.
func (c Config) Location() string {
	if c.Kind == KindDirectory {
		return c.Path
	}
	scheme := "https"
	if c.PlainHTTP {
		scheme = "http"
	}
	return strings.TrimRight(fmt.Sprintf("%s://%s/%s/%s", scheme, c.Endpoint, c.Bucket, strings.Trim(c.Prefix, "/")), "/")
}

// Open returns the target of the description. Nothing is contacted yet.
func Open(c Config) (Target, error) {
	switch c.Kind {
	case KindDirectory:
		return newDirectory(c.Path)
	case KindS3:
		return newS3(c)
	}
	return nil, fmt.Errorf("kind %q: %w; it is directory or s3", c.Kind, ErrConfig)
}

var (
	partForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	prefixEnd = regexp.MustCompile(`^[a-z0-9._/-]*$`)
)

// maxName bounds a name's length.
const maxName = 255

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("object name %.80q: %w", name, ErrName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if !partForm.MatchString(part) {
			return fmt.Errorf("object name %q: %w", name, ErrName)
		}
	}
	return nil
}

func checkPrefix(prefix string) error {
	if !prefixEnd.MatchString(prefix) || strings.Contains(prefix, "..") || strings.HasPrefix(prefix, "/") {
		return fmt.Errorf("prefix %q: %w", prefix, ErrName)
	}
	return nil
}

// healthName is the object that Health writes; it is never listed.
const healthName = "baton-health-check"
