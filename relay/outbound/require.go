package outbound

import "waypost/queue"

// requiresTLS reports whether the message may leave but under TLS, to a host that
// is known to be the right one and keeps to that (RFC 8689 §4.2.1).
//
// A report must not be lost over it (RFC 8689 §5): after an attempt that failed for
// want of TLS it takes what there is. It has no more than a header to lose.
func (a *attempt) requiresTLS() bool {
	return a.message.RequireTLS && !(a.isReport() && lackedTLS(a.open[0].Last))
}

// isReport reports whether the message comes from the null reverse-path.
func (a *attempt) isReport() bool { return a.message.ReversePath.IsNull() }

// asksTooMuch reports whether the attempt came to nothing for what the message asks
// of TLS. That says nothing about other mail, which must not wait for it.
func (a *attempt) asksTooMuch() bool { return a.requiresTLS() && lackedTLS(a.last.result()) }

// lackedTLS reports whether a result is that of a host, or of a domain, with which
// there was no TLS as it has to be: our own finding, or a STARTTLS refused for now.
func lackedTLS(r queue.Result) bool {
	return r.Status[1] == 7 && (r.Reply.Code == 0 || r.Reply.Code == 454)
}

// patient makes temporary that a report found no TLS as it has to be, as the next
// attempt does without.
func (a *attempt) patient(f failure) failure {
	if f.permanent && a.isReport() && a.requiresTLS() && lackedTLS(f.result()) {
		f.permanent, f.status[0] = false, 4
	}
	return f
}
