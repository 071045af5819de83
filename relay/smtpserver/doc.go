// Package smtpserver is the listener's engine: it speaks the protocol with a
// client and drives a go-smtp Backend.
//
// It exists because a public port needs what go-smtp's own command loop does
// not give: strict line ends, a deadline for each read, no second
// interpretation of a body after an error, replies that leave together, and
// the answers that RFC 5321 lists. The contract is go-smtp's, so that the same
// backend also runs under smtp.NewServer; what the contract lacks are add-on
// interfaces in go-smtp's manner (see [Backend] and the …Session types).
//
// It speaks these extensions, each where the session can have it:
//
//   - 8BITMIME (RFC 6152), CHUNKING and BINARYMIME (RFC 3030)
//   - SIZE (RFC 1870), PIPELINING (RFC 2920), LIMITS (RFC 9422)
//   - ENHANCEDSTATUSCODES (RFC 2034), DSN (RFC 3461, RFC 6533)
//   - SMTPUTF8 (RFC 6531)
//   - STARTTLS (RFC 3207), implicit TLS (RFC 8314), REQUIRETLS (RFC 8689)
//   - AUTH (RFC 4954), FUTURERELEASE (RFC 4865)
//   - DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710)
//   - VRFY, EXPN, HELP (RFC 5321), ETRN (RFC 1985)
//   - XCLIENT, as Postfix has it, and the PROXY protocol ahead of all
//
// It decides nothing about mail. In order, for each connection: greet, read a
// command, check its syntax and its place in the session, ask the backend's
// session, reply. A line that does not end in CRLF is never executed. After
// any error while reading, the connection is closed and nothing more of it is
// interpreted.
package smtpserver
