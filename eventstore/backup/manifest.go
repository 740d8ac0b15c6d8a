package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"baton/eventstore/membership"
	"baton/platform/vfs"
)

const (
	// Format names what this package writes and reads.
	Format = "baton event-store backup 1"

	manifestName = "manifest.json"
	partialName  = "partial.json"
	segmentsName = "segments"
	lockName     = "LOCK"
	copyName     = "copying.tmp"

	// maxManifestBytes bounds what is read as a manifest: a file takes about
	// 350 bytes of it, so this is some 50 TB of log.
	maxManifestBytes = 256 << 20
)

// Manifest says what a backup holds. Positions and indexes are texts in JSON,
// as everywhere.
type Manifest struct {
	Format  string `json:"format"`
	Version string `json:"version"` // of the program that took it
	// TakenAt is when the position was chosen; everything acknowledged by the
	// node's cluster and applied on the node before is in the backup.
	TakenAt     time.Time `json:"takenAt"`
	CompletedAt time.Time `json:"completedAt"`

	Node        Origin   `json:"node"`
	ClusterID   string   `json:"clusterId"`
	ClusterName string   `json:"clusterName"`
	ClusterSize int      `json:"clusterSize"`
	Members     []string `json:"members"` // names, for people

	Position     uint64 `json:"position,string"` // where the next frame would begin
	Index        uint64 `json:"index,string"`    // of the last entry
	Term         uint64 `json:"term,string"`     // of the last entry
	SegmentBytes int64  `json:"segmentBytes"`

	Files []File `json:"files"` // ascending by Base, without gaps
}

// Origin is the node a backup was taken on.
type Origin struct {
	ID   membership.MemberID `json:"id"`
	Name string              `json:"name"`
	Role membership.Role     `json:"role"`
}

// File is one segment of a backup.
type File struct {
	Name       string `json:"name"` // in the log's directory
	Base       uint64 `json:"base,string"`
	End        uint64 `json:"end,string"`
	FirstIndex uint64 `json:"firstIndex,string"`
	Bytes      int64  `json:"bytes"`
	SHA256     string `json:"sha256"` // 64 hexadecimal digits
	// Whole is false for the last file where the position cuts its segment.
	Whole bool `json:"whole"`
	// Changed is when the file was changed last on the node it was read from,
	// in nanoseconds since the Unix epoch; 0 not known. Same time, same size:
	// the file is not read again by the next backup.
	Changed int64 `json:"changed,string"`
}

// stored is the file's name in the backup.
func (f *File) stored() string {
	return path.Join(segmentsName, strings.TrimSuffix(f.Name, ".seg")+"-"+f.SHA256[:16]+".seg")
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() int64 {
	var n int64
	for i := range m.Files {
		n += m.Files[i].Bytes
	}
	return n
}

// envelope is the form of manifest.json and partial.json: the hash is that of
// the compact form of the content.
type envelope struct {
	Content json.RawMessage `json:"content"`
	SHA256  string          `json:"sha256"`
}

func seal(value any) ([]byte, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	data, err := json.MarshalIndent(envelope{content, hex.EncodeToString(sum[:])}, "", " ")
	return append(data, '\n'), err
}

func unseal(data []byte, into any) error {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("it is no JSON of this form: %w", err)
	}
	var content bytes.Buffer
	if err := json.Compact(&content, e.Content); err != nil {
		return fmt.Errorf("it has no content: %w", err)
	}
	if sum := sha256.Sum256(content.Bytes()); e.SHA256 != hex.EncodeToString(sum[:]) {
		return errors.New("its content does not have the hash it names")
	}
	if err := json.Unmarshal(content.Bytes(), into); err != nil {
		return fmt.Errorf("its content is not of this form: %w", err)
	}
	return nil
}

// DecodeManifest reads a manifest and checks that it makes sense.
func DecodeManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := unseal(data, &m); err != nil {
		return nil, err
	}
	return &m, m.check()
}

var (
	segmentPattern = regexp.MustCompile(`^[0-9]{20}\.seg$`)
	storedPattern  = regexp.MustCompile(`^[0-9]{20}-[0-9a-f]{16}\.seg$`)
	hashPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (m *Manifest) check() error {
	switch {
	case m.Format != Format:
		return fmt.Errorf("its format is %.40q; this program knows %q", m.Format, Format)
	case m.ClusterID == "" || m.Index == 0 || m.Term == 0 || m.Position == 0 || m.SegmentBytes <= 0 || len(m.Files) == 0:
		return errors.New("it lacks the cluster, the position or the files")
	case membership.CheckSize(m.ClusterSize) != nil:
		return fmt.Errorf("a cluster of %d voters cannot be", m.ClusterSize)
	}
	next, index := uint64(0), uint64(0)
	for i := range m.Files {
		f := &m.Files[i]
		if err := f.check(); err != nil {
			return err
		}
		if f.Base != next || f.FirstIndex <= index {
			return fmt.Errorf("the segment at %d does not follow the one before, which ends at %d", f.Base, next)
		}
		if !f.Whole && i < len(m.Files)-1 {
			return fmt.Errorf("the segment at %d is not whole and not the last", f.Base)
		}
		next, index = f.End, f.FirstIndex
	}
	if next != m.Position || m.Files[0].FirstIndex != 1 || index > m.Index {
		return fmt.Errorf("its files end at %d with entry %d or later, and it says %d with entry %d", next, index, m.Position, m.Index)
	}
	return nil
}

func (f *File) check() error {
	if !segmentPattern.MatchString(f.Name) || f.Name != fmt.Sprintf("%020d.seg", f.Base) {
		return fmt.Errorf("%.40q is not the name of the segment at %d", f.Name, f.Base)
	}
	if f.End <= f.Base || f.Bytes <= 0 || !hashPattern.MatchString(f.SHA256) {
		return fmt.Errorf("the size or hash of the segment at %d is missing", f.Base)
	}
	return nil
}

// ReadManifest reads the manifest of a backup. Errors are *membership.Refusal
// with CodeIncomplete, CodeNoBackup or CodeDamaged, or those of the disk. fsys
// nil is the operating system's files.
func ReadManifest(fsys vfs.FS, dir string) (*Manifest, error) {
	if fsys == nil {
		fsys = vfs.OS()
	}
	m, err := readManifest(fsys, dir)
	if err != nil || m != nil {
		return m, err
	}
	if _, err := fsys.Stat(path.Join(dir, partialName)); err == nil {
		return nil, &membership.Refusal{Code: CodeIncomplete, Title: "The backup is not complete",
			Detail: dir + " holds the beginning of a backup that was interrupted, and no earlier one.", Fix: "Take the backup again into the same directory; it goes on where it was."}
	}
	return nil, &membership.Refusal{Code: CodeNoBackup, Title: "There is no backup",
		Detail: dir + " holds no " + manifestName + ".", Fix: "Name the directory that a backup was taken into."}
}

// readManifest returns nil where there is none.
func readManifest(fsys vfs.FS, dir string) (*Manifest, error) {
	name := path.Join(dir, manifestName)
	info, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", name, err)
	}
	if info.Size() > maxManifestBytes {
		return nil, damaged(name, fmt.Sprintf("it has %d bytes; a manifest has at most %d", info.Size(), maxManifestBytes))
	}
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	m, err := DecodeManifest(data)
	if err != nil {
		return nil, damaged(name, err.Error())
	}
	return m, nil
}
