// Package smtp holds the words of the protocol: paths and domains, replies
// and enhanced status codes, and the values of ESMTP parameters.
//
// It does no I/O and knows no session. What comes in is parsed strictly and
// kept by meaning (a quoted local part is unquoted); what goes out is written
// in one canonical form (quoted again where the grammar asks for it), so that
// nothing inside a mailbox can end its path and begin a parameter.
package smtp
