// Package queue keeps messages until every recipient has been dealt with.
//
// A message comes in as a [Draft]: its content is streamed to memory or disk,
// and Commit returns only when content and envelope are durable. Its
// recipients are sorted by destination into deliveries, which wait in a
// schedule and are handed to a [Deliverer] when they are due. What became of
// each recipient, and the reports that follow from it, are committed as one. A
// message leaves when all of its recipients are final.
//
// Changes are durable when they are in the journal, and come into the index
// (bbolt) at checkpoints; until then they stand in memory, where reads find
// them.
//
// The package knows nothing of SMTP sessions, of DNS or of routes: those are
// behind [Deliverer], [Router] and [Reporter].
//
// After a crash everything acknowledged is there, and everything that was in
// flight is due again: a message may be delivered twice, never lost. When a
// commit or a sync fails, the queue stops for good (see [Queue.Failed]).
// README.md in this folder lists every state on disk.
package queue
