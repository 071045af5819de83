package queue

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// ErrArchive means that an archive is none, is of another version, or is not
// whole. What was read of it before is sound all the same.
var ErrArchive = errors.New("bad archive")

func badArchive(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrArchive, fmt.Sprintf(format, args...))
}

// archiveReader reads an archive from front to back. It trusts nothing: what
// it hands out has matched its checksums.
type archiveReader struct {
	source *sourceReader
	tar    *tar.Reader
	lines  archiveLines
	from   identity
	n      int64
	last   ID
	left   *archivedContent // of the last message, perhaps not read to its end
}

// archived is one message of an archive.
type archived struct {
	id      ID
	message exportedMessage
	content *archivedContent
}

// newArchiveReader reads the first member.
func newArchiveReader(r io.Reader) (*archiveReader, error) {
	source := &sourceReader{r: r}
	a := &archiveReader{source: source, tar: tar.NewReader(source), lines: archiveLines{sha256.New()}}
	h, err := a.head()
	if err != nil {
		return nil, err
	}
	if h.Name != archiveFirst {
		return nil, badArchive("it begins with %.60q, and not with %s", h.Name, archiveFirst)
	}
	text, err := a.text(h)
	if err != nil {
		return nil, err
	}
	// What other versions say besides is none of our business.
	var head archiveHead
	if err := json.Unmarshal(text, &head); err != nil || head.Format != archiveFormat {
		return nil, badArchive("%s does not say that it is a %s", archiveFirst, archiveFormat)
	}
	if head.Version != archiveVersion {
		return nil, badArchive("it is of version %d, and this program reads version %d", head.Version, archiveVersion)
	}
	from, ok := parseIdentity(head.Queue)
	if !ok {
		return nil, badArchive("%s does not name the queue that it comes from", archiveFirst)
	}
	a.from = from
	return a, nil
}

// next returns the next message, whose content can be read until next is
// called again. At the end of a whole archive it returns io.EOF.
func (a *archiveReader) next() (*archived, error) {
	if err := a.finish(); err != nil {
		return nil, err
	}
	h, err := a.head()
	if err != nil {
		return nil, err
	}
	if h.Name == archiveLast {
		return nil, a.end(h)
	}
	name, ok := strings.CutSuffix(h.Name, ".json")
	id, err := ParseID(name)
	if !ok || err != nil || name != id.String() {
		return nil, badArchive("there is %.60q where the next message belongs", h.Name)
	}
	if id <= a.last {
		return nil, badArchive("%s comes behind %s: messages are in the order of their IDs, and each is there once", id, a.last)
	}
	m := &archived{id: id}
	if err := a.record(h, m); err != nil {
		return nil, err
	}
	if m.content, err = a.content(m); err != nil {
		return nil, err
	}
	a.last, a.left = id, m.content
	a.n++
	return m, nil
}

// record reads what is said of a message.
func (a *archiveReader) record(h *tar.Header, m *archived) error {
	text, err := a.text(h)
	if err != nil {
		return err
	}
	if crowded(text) {
		return badArchive("%s has more values than there can be in a record of its length", h.Name)
	}
	var record archiveRecord
	if err := strictJSON(text, &record); err != nil {
		return badArchive("%s: %s", h.Name, err)
	}
	if sum := sha256.Sum256(record.Message); hex.EncodeToString(sum[:]) != record.SHA256 {
		return badArchive("%s does not match its checksum", h.Name)
	}
	if err := strictJSON(record.Message, &m.message); err != nil {
		return badArchive("%s: %s", h.Name, err)
	}
	if m.message.ID != m.id.String() {
		return badArchive("%s is about %.60q", h.Name, m.message.ID)
	}
	return nil
}

// content begins a message's content.
func (a *archiveReader) content(m *archived) (*archivedContent, error) {
	h, err := a.head()
	if err != nil {
		return nil, err
	}
	if h.Name != m.id.String()+".eml" {
		return nil, badArchive("there is %.60q where the content of %s belongs", h.Name, m.id)
	}
	if h.Size != m.message.Content.Size {
		return nil, badArchive("%s has %d octets, and should have %d", h.Name, h.Size, m.message.Content.Size)
	}
	return &archivedContent{archive: a, name: h.Name, want: m.message.Content.SHA256, sum: sha256.New()}, nil
}

// finish reads what nobody wanted to read of the last content.
func (a *archiveReader) finish() error {
	if a.left == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, a.left)
	a.left = nil
	return err
}

// end checks the last member.
func (a *archiveReader) end(h *tar.Header) error {
	want := hexSum(a.lines)
	text, err := a.text(h)
	if err != nil {
		return err
	}
	var end archiveEnd
	if err := strictJSON(text, &end); err != nil {
		return badArchive("%s: %s", h.Name, err)
	}
	if end.Messages != a.n || end.SHA256 != want {
		return badArchive("it has %d messages, and its end speaks of %d or of others", a.n, end.Messages)
	}
	if h, err := a.tar.Next(); err == nil {
		return badArchive("%.60q comes behind its end", h.Name)
	} else if !errors.Is(err, io.EOF) {
		return a.failed(err)
	}
	return io.EOF
}

// head goes to the next member, which is a regular file.
func (a *archiveReader) head() (*tar.Header, error) {
	h, err := a.tar.Next()
	if err != nil {
		return nil, a.failed(err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil, badArchive("%.60q is no regular file", h.Name)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") { // a few octets that stand for any number of zeros
			return nil, badArchive("%.60q is a sparse file", h.Name)
		}
	}
	return h, nil
}

// text reads a member that is not long.
func (a *archiveReader) text(h *tar.Header) ([]byte, error) {
	if h.Size > maxExported {
		return nil, badArchive("%s has %d octets, and may have %d", h.Name, h.Size, maxExported)
	}
	text, err := io.ReadAll(a.tar)
	if err != nil {
		return nil, a.failed(err)
	}
	sum := sha256.Sum256(text)
	a.lines.add(h.Name, hex.EncodeToString(sum[:]))
	return text, nil
}

// failed says what an error of the tar stream means.
func (a *archiveReader) failed(err error) error {
	switch {
	case a.source.err != nil:
		return fmt.Errorf("read the archive: %w", a.source.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badArchive("it is cut off")
	}
	return badArchive("%s", err)
}

// archivedContent reads a content. Instead of io.EOF it says ErrArchive when
// that is not what was exported.
type archivedContent struct {
	archive *archiveReader
	name    string
	want    string
	sum     hash.Hash
	err     error // what Read said last
}

// Read reads on, and compares the checksum at the end.
func (c *archivedContent) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.archive.tar.Read(p)
	c.sum.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		c.err = c.archive.failed(err)
	} else if c.err = io.EOF; hexSum(c.sum) != c.want {
		c.err = badArchive("%s does not match its checksum", c.name)
	} else {
		c.archive.lines.add(c.name, c.want)
	}
	return n, c.err
}

// sourceReader remembers that reading failed, to tell it from an archive that
// is bad.
type sourceReader struct {
	r   io.Reader
	err error
}

// Read reads from the source.
func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// crowded reports whether a record is made of values that are shorter than any of
// ours: in memory each takes a hundred octets, however short it is.
func crowded(text []byte) bool {
	objects, values := 0, 0
	within, escaped := false, false // a string
	for _, b := range text {
		switch {
		case escaped:
			escaped = false
		case within:
			escaped, within = b == '\\', b != '"'
		case b == '"':
			within = true
		case b == '{':
			objects++
		case b == ',':
			values++
		}
	}
	return objects > len(text)/32+100 || values > len(text)/8+100
}

// strictJSON reads one value that has no names that v has not.
func strictJSON(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%.200s", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more than one value")
	}
	return nil
}
