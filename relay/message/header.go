package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// headerChunk is how much ReadHeader asks for at a time, in octets.
const headerChunk = 4 << 10

// ReadHeader returns the header section of the content in r: every line
// before the first empty one, with line ends as they are. A section of more
// than limit octets is cut behind the last line that fits whole, and cut is
// true then. It reads little more of r than it returns and holds no more than
// limit octets and one chunk. err is a failure of r; the end of r is none.
func ReadHeader(r io.Reader, limit int) (header []byte, cut bool, err error) {
	chunk := make([]byte, headerChunk)
	line := 0 // where the last line begins that is not known whole
	for {
		n, err := r.Read(chunk)
		header = append(header, chunk[:n]...)
		for {
			i := bytes.IndexByte(header[line:], '\n')
			if i < 0 || line+i+1 > limit {
				break
			}
			if isEmptyLine(header[line : line+i]) {
				return header[:line], false, nil
			}
			line += i + 1
		}
		switch {
		case len(header) > limit:
			return header[:line], !startsEmpty(header[line:]), nil
		case errors.Is(err, io.EOF):
			return header, false, nil
		case err != nil:
			return header[:line], false, fmt.Errorf("read header section: %w", err)
		}
	}
}

// isEmptyLine reports whether a line, without its LF, has nothing in it.
func isEmptyLine(b []byte) bool {
	return len(b) == 0 || len(b) == 1 && b[0] == '\r'
}

// startsEmpty reports whether b begins with an empty line, or with what may
// become one.
func startsEmpty(b []byte) bool {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return isEmptyLine(b)
	}
	return isEmptyLine(b[:i])
}
