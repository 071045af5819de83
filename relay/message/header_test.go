package message

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadHeader(t *testing.T) {
	long := "X: " + strings.Repeat("y", 9000) + "\r\n"
	tests := []struct {
		name, in string
		limit    int
		want     string
		cut      bool
	}{
		{"header and body", "A: b\r\nC: d\r\n\r\nbody\r\n\r\n", 100, "A: b\r\nC: d\r\n", false},
		{"no body", "A: b\r\n", 100, "A: b\r\n", false},
		{"no line end", "A: b", 100, "A: b", false},
		{"nothing", "", 100, "", false},
		{"no header", "\r\nbody", 100, "", false},
		{"bare line ends", "A: b\n\nbody", 100, "A: b\n", false},
		{"exactly the limit", "A: b\r\nC: d\r\n\r\nbody", 12, "A: b\r\nC: d\r\n", false},
		{"one over the limit", "A: b\r\nC: d\r\n\r\nbody", 11, "A: b\r\n", true},
		{"first line over the limit", "A: b\r\n\r\n", 3, "", true},
		{"limit of nothing", "\r\nbody", 0, "", false},
		{"no empty line, over the limit", "A: b\r\nC: d\r\n", 8, "A: b\r\n", true},
		{"long line fits", long + "\r\n", 10000, long, false},
		{"long line does not fit", "A: b\r\n" + long + long, 10000, "A: b\r\n" + long, true},
		{"empty line before the limit, body after", "A: b\r\n\r\n" + long, 100, "A: b\r\n", false},
	}
	for _, tt := range tests {
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "octets": iotest.OneByteReader, "end with data": iotest.DataErrReader,
		} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				got, cut, err := ReadHeader(wrap(strings.NewReader(tt.in)), tt.limit)
				if string(got) != tt.want || cut != tt.cut || err != nil {
					t.Errorf("ReadHeader = %.60q, %v, %v; want %.60q, %v", got, cut, err, tt.want, tt.cut)
				}
			})
		}
	}
}

func TestReadHeaderFailure(t *testing.T) {
	broken := errors.New("disk is gone")
	r := io.MultiReader(strings.NewReader("A: b\r\nC:"), iotest.ErrReader(broken))
	header, _, err := ReadHeader(r, 100)
	if !errors.Is(err, broken) || string(header) != "A: b\r\n" {
		t.Errorf("ReadHeader = %q, %v", header, err)
	}
}

// TestReadHeaderStops: an endless header section costs no more than the limit
// and a chunk.
func TestReadHeaderStops(t *testing.T) {
	const limit = 128 << 10
	r := &endless{line: "X: y\r\n"}
	header, cut, err := ReadHeader(r, limit)
	if err != nil || !cut || len(header) > limit || len(header) < limit-len(r.line) {
		t.Errorf("%d octets, %v, %v", len(header), cut, err)
	}
	if r.read > limit+headerChunk {
		t.Errorf("read %d octets for a limit of %d", r.read, limit)
	}
}

// endless repeats one line for ever.
type endless struct {
	line string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.line[(e.read+i)%len(e.line)]
	}
	e.read += len(p)
	return len(p), nil
}

func ExampleReadHeader() {
	header, _, _ := ReadHeader(strings.NewReader("Subject: hello\r\n\r\nThe text.\r\n"), 1<<10)
	fmt.Printf("%q\n", header)
	// Output: "Subject: hello\r\n"
}
