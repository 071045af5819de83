package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A content file tells what message it is, so that the message can be had back
// without the index: behind the content stands a trailer, which ends the file.
//
//	[content] message: a change of kind insert, as in the journal
//	          length of that 4, version of the format 4, CRC-32C of all before it in the trailer 4, magic 4
//
// The recipients in it are those of the day the message was taken; what became
// of them since is known to index and journal alone. Files of older programs
// have no trailer.
const (
	trailerFoot  = 16
	trailerMagic = 0x77706331
	// maxTrailer bounds what is read of a file that may be anything: more than
	// the greatest envelope that a listener takes.
	maxTrailer = 64 << 20
)

// errNoTrailer means that a file does not end in a trailer.
var errNoTrailer = errors.New("there is no trailer")

// seal writes the trailer behind a content that has a file.
func (d *Draft) seal(message []byte, deliveries []deliveryRow) error {
	if d.file == nil {
		return nil
	}
	b := appendInsert(nil, d.id, message, deliveries)
	b = binary.BigEndian.AppendUint32(b, uint32(len(b)))
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = appendSum(b)
	b = binary.BigEndian.AppendUint32(b, trailerMagic)
	if _, err := d.file.Write(b); err != nil {
		return fmt.Errorf("store envelope of %s: %w", d.id, err)
	}
	return nil
}

// readTrailer returns what the trailer of a content file says, and how long the
// content before it is.
func readTrailer(f *os.File) (row *row, id ID, content int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, 0, err
	}
	b, err := trailerOf(f, info.Size())
	if err != nil {
		return nil, 0, 0, err
	}
	if version := binary.BigEndian.Uint32(b[len(b)-12:]); version > formatVersion {
		return nil, 0, 0, fmt.Errorf("%w: version %d", ErrFormat, version)
	}
	o := newOverlay()
	if err := o.replay(b[:len(b)-trailerFoot]); err != nil {
		return nil, 0, 0, err
	}
	for id, row := range o.rows {
		if len(o.rows) == 1 && row.message != nil {
			return row, id, info.Size() - int64(len(b)), nil
		}
	}
	return nil, 0, 0, fmt.Errorf("trailer is %w", ErrDamaged)
}

// trailerOf reads the whole trailer, and checks it.
func trailerOf(f io.ReaderAt, size int64) ([]byte, error) {
	var foot [trailerFoot]byte
	if size < trailerFoot {
		return nil, errNoTrailer
	}
	if _, err := f.ReadAt(foot[:], size-trailerFoot); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(foot[12:]) != trailerMagic {
		return nil, errNoTrailer
	}
	length := int64(binary.BigEndian.Uint32(foot[:])) + trailerFoot
	if length > size || length > maxTrailer {
		return nil, fmt.Errorf("trailer is %w", ErrDamaged)
	}
	b := make([]byte, length)
	if _, err := f.ReadAt(b, size-length); err != nil {
		return nil, err
	}
	if checksum(b[:length-8]) != binary.BigEndian.Uint32(b[length-8:]) {
		return nil, fmt.Errorf("trailer is %w", ErrDamaged)
	}
	return b, nil
}
