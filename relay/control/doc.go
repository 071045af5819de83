// Package control is the control socket of a running waypost, and the client
// that the queue commands reach it with.
//
// Only one process can open the queue, so whoever wants to look at it or to
// change it asks that process: HTTP with JSON over a Unix socket in the data
// directory. [Listen] makes the socket and [Serve] answers on it; [Dial] finds
// it. What is said on it, and nothing else:
//
//	POST /v1/list                      Selection → List, one page
//	POST /v1/count                     Selection → Progress…, Counted
//	POST /v1/sort                      SortRequest → Progress…, Sorted
//	POST /v1/shape                     ShapeRequest → Progress…, Shape
//	POST /v1/{retry|hold|release|remove|bounce|reroute}  Selection → Changed, one page
//	                                   or, with a destination alone, of a next hop itself
//	GET  /v1/messages/{id}             → Message
//	GET  /v1/messages/{id}/content     → the content, as it is on disk
//	GET  /v1/stats                     → Stats
//	GET  /v1/health                    → Health
//	POST /v1/trace                     TraceRequest → Trace
//	POST /v1/debug                     DebugRequest → Debugged…, until its time is over
//	POST /v1/top                       TopRequest → Top…, without end
//	POST /v1/follow                    TraceRequest → Followed…, until it ends
//	POST /v1/explain                   Question → Explanation
//	POST /v1/reload                    → Reloaded
//	POST /v1/export                    ExportRequest → an archive, and Exported in a trailer
//	POST /v1/import?hold=…             an archive → Imported
//	POST /v1/verify                    → Damage…, Verification
//	POST /v1/compact                   → Compacted
//	POST /v1/backup                    a directory → BackedUp
//
// An error is a Problem with a status of 400 or above. Whatever may be long
// comes in pages, so that no request keeps the queue busy for long, and so
// that who asked can stop between two of them.
//
// The package refuses peers that are neither root nor the user that waypost
// runs as, requests over 64 KiB, and more than 64 connections at once (further
// ones wait). It refuses to change everything at once unless it is told so in
// as many words. It puts no message into the queue but those of an archive that
// this program wrote.
//
// The steps, in order, of the server: find out who connects, read one request,
// check it whole, ask the queue for one page, answer. Nothing is kept between
// requests. After a crash the socket's file remains; the next Listen, which
// runs behind the lock on the data directory, removes it.
package control
