package dkim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"waypost/metrics"
	"waypost/relay/sevenbit"
)

// maxHeader is the largest header section that is looked at, in octets. A larger
// one is not signed; nor is it taken anywhere.
const maxHeader = 1 << 20

// Writer passes a content on behind its signatures. Make one with NewWriter,
// write the content, and end with Finish; Discard gives up what is kept.
type Writer struct {
	w       io.Writer
	set     *Set
	header  []byte // with the empty line, as far as it has come
	line    int    // where its last line begins
	decided bool
	keys    []signing
	kept    *spool // the content, where it is to be signed
}

// Content says of a content what its writer has seen on the way.
type Content struct {
	// EightBit says that it has octets over 127.
	EightBit bool
	// UTF8Header says that its header section is in UTF-8 by right, so that no
	// host will ever convert it (RFC 6531).
	UTF8Header bool
	// Binary says that it has lines of any length and any line ends.
	Binary bool
	// LongLines says that it has lines of more than 998 octets.
	LongLines bool
}

// Result is what became of a content.
type Result struct {
	// Keys are the names of the records of the keys that have signed it.
	Keys []string
	// Converted says that it has gone on in 7 bits.
	Converted bool
}

// NewWriter returns a Writer that writes to w. That of a nil Set signs nothing.
func (s *Set) NewWriter(w io.Writer) *Writer { return &Writer{w: w, set: s, decided: s.Len() == 0} }

// Write takes the next piece. An error is of the writer behind, or of the disk.
func (w *Writer) Write(p []byte) (int, error) {
	if w.decided {
		return w.pass(p)
	}
	n := len(p)
	w.header = append(w.header, p...)
	if w.wholeHeader() || len(w.header) > maxHeader {
		if err := w.decide(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (w *Writer) pass(p []byte) (int, error) {
	if w.kept != nil {
		return w.kept.Write(p)
	}
	return w.w.Write(p)
}

// wholeHeader reports whether the empty line has come.
func (w *Writer) wholeHeader() bool {
	for {
		i := bytes.IndexByte(w.header[w.line:], '\n')
		if i < 0 {
			return false
		}
		empty := len(bytes.TrimRight(w.header[w.line:w.line+i], "\r")) == 0
		if w.line += i + 1; empty {
			return true
		}
	}
}

// decide looks for keys, and passes on what was held.
func (w *Writer) decide() error {
	w.decided = true
	held := w.header
	if len(held) <= maxHeader {
		w.header = bytes.Clone(held[:w.line])
		domain := fromDomain(w.header)
		keys, found := w.set.choose(domain)
		switch {
		case !found:
			w.set.count1(metrics.DKIMNoKey)
		case len(keys) == 0:
			w.set.count1(metrics.DKIMUnpublished)
		default:
			w.keys, w.kept = keys, &spool{dir: w.set.Dir}
		}
	}
	_, err := w.pass(held)
	return err
}

func (s *Set) count1(result string) { s.Metrics.DKIMSignatures.WithLabelValues(result).Inc() }

// Finish signs the content and passes it on. Nothing was passed on before of one
// that is signed.
func (w *Writer) Finish(c Content) (Result, error) {
	if !w.decided {
		w.line = len(w.header) // all of it
		if err := w.decide(); err != nil {
			return Result{}, err
		}
	}
	if w.kept == nil {
		return Result{}, nil
	}
	defer w.Discard()
	content, err := w.convert(c)
	if err != nil {
		return Result{}, err
	}
	result := Result{Converted: content.info != nil}
	signatures, err := w.sign(content)
	if err != nil {
		return Result{}, err
	}
	for i, s := range signatures {
		if _, err := io.WriteString(w.w, s); err != nil {
			return Result{}, err
		}
		result.Keys = append(result.Keys, w.keys[i].name())
	}
	return result, content.copyTo(w.w)
}

// Discard forgets the content.
func (w *Writer) Discard() {
	if w.kept != nil {
		w.kept.Close()
	}
}

// signed is the content as it goes on.
type signed struct {
	kept *spool
	info *sevenbit.Info // of one that is converted
}

func (s *signed) copyTo(w io.Writer) error {
	r, err := s.kept.Reader()
	if err != nil {
		return err
	}
	if s.info != nil {
		r = s.info.Convert(r)
	}
	_, err = io.Copy(w, r)
	return err
}

// convert says how the content goes on. RFC 6376 §5.3: what a host on the way may
// have to convert is converted before it is signed. What is sealed, or is
// internationalised in its header section, is left alone: the one would break, and
// the other goes only where nothing is converted. Binary content with lines of
// its own kind has no other way.
func (w *Writer) convert(c Content) (*signed, error) {
	s := &signed{kept: w.kept}
	want := w.keys[0].SevenBit && (c.EightBit || c.Binary || c.LongLines)
	if !want || c.UTF8Header || isSealed(w.header) {
		return s, nil
	}
	r, err := w.kept.Reader()
	if err != nil {
		return nil, err
	}
	info, err := sevenbit.Scan(r)
	if errors.Is(err, sevenbit.ErrStructure) {
		return s, nil // it is signed as it is
	}
	s.info = info
	return s, err
}

// sign returns the signatures, in the order in which they are to stand. A fault of
// a key is no fault of the message, which goes on without.
func (w *Writer) sign(content *signed) ([]string, error) {
	header := w.header
	if content.info != nil {
		// The conversion may have changed or added fields.
		var err error
		if header, err = convertedHeader(content); err != nil {
			return nil, err
		}
	}
	var signers []*msgauth.Signer
	var writers []io.Writer
	for _, k := range w.keys {
		signer, err := msgauth.NewSigner(k.options(header))
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", k.name(), err)
		}
		defer signer.Close()
		signers, writers = append(signers, signer), append(writers, signer)
	}
	all := io.MultiWriter(writers...)
	if err := content.copyTo(all); err != nil {
		return nil, err
	}
	if !endsHeader(header) {
		// A content may end within its header section; the library wants its end.
		if _, err := io.WriteString(all, "\r\n\r\n"); err != nil {
			return nil, err
		}
	}
	var signatures []string
	for i, signer := range signers {
		if err := signer.Close(); err != nil {
			return nil, fmt.Errorf("sign with %s: %w", w.keys[i].name(), err)
		}
		w.set.count1(string(AlgorithmOf(w.keys[i].signer.Public())))
		signatures = append(signatures, signer.Signature())
	}
	return signatures, nil
}

// options are those of one signature. The time it is made at is that of now.
func (k signing) options(header []byte) *msgauth.SignOptions {
	o := &msgauth.SignOptions{
		Domain: k.Domain, Selector: k.Selector, Signer: k.signer,
		HeaderCanonicalization: msgauth.CanonicalizationRelaxed, BodyCanonicalization: msgauth.CanonicalizationRelaxed,
		HeaderKeys: fieldsToSign(header, &k.Key),
	}
	if k.Expiry > 0 {
		o.Expiration = time.Now().Add(k.Expiry)
	}
	return o
}

// convertedHeader returns the header section as it goes on.
func convertedHeader(content *signed) ([]byte, error) {
	h := &Writer{}
	err := content.copyTo(headerOnly{h})
	if errors.Is(err, errHeaderEnd) {
		return h.header[:h.line], nil
	}
	return h.header, err
}

// headerOnly takes a content up to the end of its header section.
type headerOnly struct{ *Writer }

var errHeaderEnd = errors.New("the header section is whole")

// Write takes the next piece.
func (h headerOnly) Write(p []byte) (int, error) {
	h.header = append(h.header, p...)
	if h.wholeHeader() {
		return 0, errHeaderEnd
	}
	return len(p), nil
}

// endsHeader reports whether a header section has its empty line.
func endsHeader(header []byte) bool {
	return bytes.HasSuffix(header, []byte("\n\r\n")) || bytes.HasSuffix(header, []byte("\n\n")) || bytes.Equal(header, []byte("\r\n"))
}
