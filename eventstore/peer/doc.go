// Package peer links the nodes of a cluster over TCP: raft messages, member
// status, and requests with answers (founding, joining, forwarded commands).
//
// Each node dials every other one and sends on the connection it dialed; answers
// to requests come back on the same connection. A connection begins with a hello
// in both directions, in which the nodes make sure that they belong to the same
// cluster and are who the other expects. Everything is framed; a frame that is
// malformed ends the connection with a logged reason and has no other effect.
//
//	frame:   length u32 | type u8 | 0 u8[3] | crc32c u32 | payload[length]
//
// Numbers are little endian; the checksum covers the first eight bytes and the
// payload. The types and their payloads:
//
//	1 hello     JSON of Hello, from the dialer
//	2 welcome   JSON of Welcome, from the other side
//	3 raft      messages, each: length u32 | protobuf of raftpb.Message
//	4 status    opaque bytes; a newer one replaces one not sent yet
//	5 request   number u64 | kind u8 | payload
//	6 answer    number u64 | failed u8 | payload, or the text of the failure;
//	            number 0 answers a status: both sides end a silent connection
//
// Queues are bounded. Raft messages are dropped oldest first, raft repeats what
// matters; requests are refused when too many wait.
package peer
