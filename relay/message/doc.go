// Package message looks at the content of a message and writes the header
// fields that a relay adds to it.
//
// It never parses a content into parts and never writes one anew: what came
// in goes out octet for octet, behind the trace field in front of it. Only a new
// message, of a submission, is completed on its way (Completer). Nothing
// here holds a whole content in memory, and nothing does I/O of its own.
//
// On the way in, the caller:
//
//  1. appends a Received field for the session (Received);
//  2. writes the content, in whatever pieces it arrives, to a Checker as well
//     as to the queue, up to its true end;
//  3. asks the Checker what it saw: faults that forbid the message, and facts
//     that the envelope keeps (8-bit octets, size, longest line).
//
// EachField, Addresses and TLSOptional read what a header section says, for those
// to whom the author or the wish for TLS matters.
//
// On the way back, ReadHeader takes the header section of a stored content
// for a report. Field folds any header field that we write, and is where text
// from strangers loses its control characters.
package message
