// Package rpc serves the event store's gRPC services to clients: Streams, StreamsService, Gossip, ServerFeatures, Operations and Monitoring. It only
// translates: requests become commands and queries of packages stream and reader, outcomes become responses, and errors become the statuses, trailers
// and details that published clients know. The judgment lies elsewhere.
//
// Hot paths avoid the general protobuf code. Appends are decoded by hand into [stream.Event] values that alias the received bytes (decode.go); events
// read are written as a small prefix and the stored bytes (encode.go), many gRPC messages to one write (frames.go).
//
// All methods of [Server] may be called from any goroutine.
package rpc
