// Package smtpclient speaks the sending side of one SMTP or LMTP session on a
// connection that it is given.
//
// The steps, in order:
//
//  1. New waits for the greeting, after the TLS handshake where the connection
//     begins with one, and says EHLO (HELO to a host that knows no EHLO, LHLO
//     by LMTP).
//  2. It starts TLS as the policy asks, forgets everything that was said in
//     clear, and says EHLO again.
//  3. It authenticates when it was given credentials.
//  4. Send carries one transaction: MAIL, every RCPT and DATA in one write
//     where the host offers PIPELINING, one at a time where it does not;
//     then the content and the final dot. To a host that offers CHUNKING the
//     content goes by BDAT; a small one in the same write, so that the whole
//     transaction takes one round trip. Every recipient ends with the one
//     reply that decided it. By LMTP that is a reply of its own
//     (RFC 2033).
//  5. The session may carry further transactions while Reusable says so.
//     Quit ends it in good order, Close at once.
//
// It refuses to dial, to look anything up, to choose a host, to retry and to
// judge certificates: those are its caller's. It never sends what the host
// did not offer, never sends a bare CR or LF, never sends a password where
// strangers could read it, and never alters content beyond the dots that
// transparency asks for and a missing last CRLF.
//
// What can be said about every error is in Error; a refusal of a sender, a
// recipient or a content is no error but a reply in Result. When the
// connection is lost after the final dot, nobody can know whether the host
// has the message: Result.Ambiguous says so, and the message has to be sent
// again later, perhaps for the second time (RFC 1047).
package smtpclient
