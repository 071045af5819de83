// Package auth finds out who a client is: the users that may log in, the
// mechanisms by which they do (RFC 4954), and what becomes of those who guess.
//
// A users file has one user a line, "name:hash"; empty lines and lines that
// begin with # count for nothing. The hash is one of
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH       (PHC string, base64 without padding)
//	$2b$12$…                                       (bcrypt)
//	SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY  (RFC 5803's fields, base64)
//
// PLAIN and LOGIN work with all of them. SCRAM-SHA-256 needs the third, and so
// it is offered only where every user has one: clients take the strongest
// mechanism on offer, and do not try another one when it fails.
//
// Who is not known is checked against a hash of the same making as the others',
// so that the time tells nothing. Failures are counted for each address and for
// each login; answers come later and later, and then not at all.
package auth
