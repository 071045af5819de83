package sevenbit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func convert(t testing.TB, content string) string {
	t.Helper()
	info, err := Scan(strings.NewReader(content))
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	out, err := io.ReadAll(info.Convert(iotest.HalfReader(strings.NewReader(content))))
	if err != nil {
		t.Fatalf("Convert: %v", err)
	}
	if !ascii(out) {
		t.Errorf("not in 7 bits: %q", out)
	}
	return string(out)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestConvert(t *testing.T) {
	long := strings.Repeat("é", 60)
	for name, row := range map[string]struct{ in, want string }{
		"nothing to do": {"Subject: a\nContent-Type: text/plain\n\nhello \n", "Subject: a\nContent-Type: text/plain\n\nhello \n"},
		"text": {"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ncafé = 1 \n\n.\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9 =3D 1=20\n\n.\n"},
		"without MIME": {"Subject: a\n\ncafé\n",
			"Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n"},
		"unknown charset": {"Subject: a\n\ncaf\xe9",
			"Subject: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9"},
		"long line": {"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 8BIT\n\n" + long + "\n",
			"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n" +
				quoted(long) + "\n"},
		"image": {"MIME-Version: 1.0\nContent-Type: image/x\nContent-Transfer-Encoding: binary\n\n\xff\xfe\n",
			"MIME-Version: 1.0\nContent-Type: image/x\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte("\xff\xfe\r\n")) + "\n"},
		"parts": {"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\nContent-Transfer-Encoding: 8bit\n\nöde\n--a b\n\nplain\n--a b \n" +
			"Content-Type: text/html\nContent-Transfer-Encoding: 8bit\n\né\n--a b\nContent-Transfer-Encoding: 8bit\n\nascii\n--a b\nContent-Type: image/x\n\n\xff\n--a b--\nende ü\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\nContent-Transfer-Encoding: 7bit\n\n?de\n--a b\n\nplain\n--a b \n" +
				"Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--a b\nContent-Transfer-Encoding: 7bit\n\nascii\n--a b\nContent-Type: image/x\nContent-Transfer-Encoding: base64\n\n/w==\n--a b--\nende ?\n"},
		"message within": {"MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\n\né\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: two\nMIME-Version: 1.0\nContent-Type: text/plain\n\né\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: two\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b--\n"},
		"outer boundary ends the inner": {"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=oi\n\n--oi\n\né\n--o\n\nè\n--o--\n",
			"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=oi\n\n--oi\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--o\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A8\n--o--\n"},
		"lies about its encoding": {"MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9 é\n", "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9 =C3=A9\n"},
		"damaged base64":          {"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\naG\xffk=\n", "MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\naGk=\n"},
		"header": {"Subject: ein schönes Grün hier\nFrom: \"Jörg M\" <j@b.example>, Zoë <z@b.example>\nContent-Disposition: attachment; filename=\"ü.txt\"\nX-\xff: a\n\nx\n",
			"Subject: ein =?utf-8?q?sch=C3=B6nes_Gr=C3=BCn?= hier\nFrom: =?utf-8?q?J=C3=B6rg_M?= <j@b.example>, =?utf-8?q?Zo=C3=AB?= <z@b.example>\nContent-Disposition: attachment; filename=\"=?utf-8?q?=C3=BC.txt?=\"\nX-?: a\n\nx\n"},
		"no body":   {"Subject: é\n", "Subject: =?utf-8?q?=C3=A9?=\n"},
		"no header": {"\né\n", "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n"},
		"empty":     {"", ""},
	} {
		if got := convert(t, crlf(row.in)); got != crlf(row.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, crlf(row.want))
		}
	}
}

func quoted(s string) string {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(w, s) // a buffer takes everything
	_ = w.Close()
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

func TestScanHeader(t *testing.T) {
	for content, want := range map[string]bool{
		"Subject: a\r\n\r\né\r\n": false,
		"Subject: é\r\n\r\na\r\n": true,
		"Subject: a":              false,
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: é\r\n\r\nx\r\n--b--\r\n": true,
	} {
		info, err := Scan(strings.NewReader(content))
		if err != nil || info.HeaderEightBit != want {
			t.Errorf("%q: %v, %v", content, info, err)
		}
	}
}

func TestRefused(t *testing.T) {
	deep := ""
	for i := range maxDepth + 2 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for name, content := range map[string]string{"deep": deep + "\r\nx\r\n", "long": strings.Repeat("a: "+strings.Repeat("x", 100)+"\r\n", 4000)} {
		if _, err := Scan(strings.NewReader(content)); !errors.Is(err, ErrStructure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Scan(iotest.ErrReader(io.ErrNoProgress)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("unreadable: %v", err)
	}
}

// part is a part of a made-up message, and what is in it.
type part struct {
	media, encoding, body string
	parts                 []part
}

func drawPart(t *rapid.T, depth int) part {
	if depth < 3 && rapid.IntRange(0, 2).Draw(t, "kind") == 0 {
		p := part{media: "multipart/mixed", encoding: rapid.SampledFrom([]string{"", "8bit", "binary"}).Draw(t, "encoding")}
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			p.parts = append(p.parts, drawPart(t, depth+1))
		}
		return p
	}
	if rapid.Bool().Draw(t, "text") {
		lines := rapid.SliceOf(rapid.StringMatching("[ -~\té=]{0,90}")).Draw(t, "lines")
		return part{media: "text/plain", encoding: rapid.SampledFrom([]string{"", "8bit"}).Draw(t, "encoding"), body: strings.Join(lines, "\r\n")}
	}
	return part{media: "application/x", encoding: "binary", body: string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "octets"))}
}

func (p part) write(b *strings.Builder, name string) {
	fmt.Fprintf(b, "Content-Type: %s; boundary=%s\r\n", p.media, name)
	if p.encoding != "" {
		fmt.Fprintf(b, "Content-Transfer-Encoding: %s\r\n", p.encoding)
	}
	b.WriteString("\r\n" + p.body)
	for i, sub := range p.parts {
		fmt.Fprintf(b, "\r\n--%s\r\n", name)
		sub.write(b, fmt.Sprintf("%s.%d", name, i))
	}
	if len(p.parts) > 0 {
		fmt.Fprintf(b, "\r\n--%s--\r\n", name)
	}
}

// check reads a part as any mail program does.
func (p part) check(t *rapid.T, header map[string][]string, body io.Reader) {
	get := func(name string) string { return strings.Join(header[name], "") }
	if len(p.parts) == 0 {
		switch get("Content-Transfer-Encoding") {
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != p.body {
			t.Fatalf("%q, %v; want %q", got, err, p.body)
		}
		return
	}
	_, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(body, params["boundary"])
	for _, sub := range p.parts {
		got, err := r.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		sub.check(t, got.Header, got)
	}
}

// TestNothingIsLost: whatever is in a message is in the converted one.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := part{media: "multipart/mixed", parts: []part{drawPart(t, 1)}}
		var b strings.Builder
		b.WriteString("MIME-Version: 1.0\r\n")
		p.write(&b, "x")
		info, err := Scan(strings.NewReader(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(info.Convert(strings.NewReader(b.String())))
		if err != nil || !ascii(out) {
			t.Fatalf("%v, %q", err, out)
		}
		m, err := mail.ReadMessage(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		p.check(t, m.Header, m.Body)
	})
}

func FuzzConvert(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n")
	f.Add("Subject: \xff\r\n continued\r\n\r\n\x00")
	f.Add("0\n\r\n\xff")
	f.Add("Content-Type: multipart/x; boundary=b\n\n--b\n\n\xff")
	f.Add("0\r\r\n\xff: x\r\n\r\n")
	f.Fuzz(func(t *testing.T, content string) {
		info, err := Scan(strings.NewReader(content))
		if err != nil {
			return
		}
		out, err := io.ReadAll(info.Convert(strings.NewReader(content)))
		if err != nil || !ascii(out) {
			t.Fatalf("%v, %q", err, out)
		}
	})
}

func BenchmarkConvert(b *testing.B) {
	content := "Content-Type: text/plain\r\n\r\n" + strings.Repeat("Zeile mit Umlaut ü und mehr davon, damit sie lang genug ist ...\r\n", 1000)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		info, err := Scan(strings.NewReader(content))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, info.Convert(strings.NewReader(content))); err != nil {
			b.Fatal(err)
		}
	}
}
