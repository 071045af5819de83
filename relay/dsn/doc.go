// Package dsn composes delivery status notifications (RFC 3464): the message
// that tells a sender what became of another one.
//
// It knows no queue and no network. It does not decide whether a report is
// due, who asked for which, or how it travels; it writes one report for what
// it is told. It refuses to report to the null reverse-path, since no report
// ever answers a report (RFC 3461 §5.2, RFC 5321 §4.5.5).
//
// Compose writes, in this order:
//
//  1. the header section: from the mail system, to the sender, marked as an
//     automatic reply (RFC 3834 §5), with no word of the original in it;
//  2. a short text for people: which recipients, why, and what to do now;
//  3. message/delivery-status for programs: one block of fields for the
//     message and one for each recipient (RFC 3464 §2.1);
//  4. the returned content: its header section, or all of it where a failure
//     is reported, the sender asked for that, and it is not too large.
//
// Everything but the returned content is in lines of at most 998 octets,
// mostly 78, in ASCII unless the report is internationalised (RFC 6533). What
// strangers wrote (replies, names, addresses) loses its control characters.
// A content that is returned whole passes octet for octet and is streamed.
//
// The caller sends the report with MAIL FROM:<>, without RET, and with NOTIFY
// absent or NEVER (RFC 3461 §6.1); with BODY=8BITMIME where Composed.EightBit
// is set, and with SMTPUTF8 where Composed.UTF8 is.
package dsn
