// Every named reason for which a frame or an event does not go on. One list for router, XDP program, client and tools:
// the number is on the wire (refuse, skip) and indexes counters; names appear in status, ledger and logs.
// Numbers are never reused; new reasons are appended.
#ifndef WEIR_WIRE_REASON_H
#define WEIR_WIRE_REASON_H

// X(symbol, name, class, what happened)
// class: FRAME  the frame was dropped before any shard saw it (row of the worker, or the XDP program's map);
//        RETRY  a stream's frame was refused, the producer keeps it and sends it again;
//        FINAL  a stream's frame was refused for good, the producer answers with skip;
//        SKIP   events that a producer's skip, or the gaps of a `none` stream, passed over;
//        DROP   accepted events that a group will not see.
#define WEIR_REASONS(X) \
	X(NONE, "none", FRAME, "no reason") \
	X(SHORT, "short", FRAME, "shorter than a frame header") \
	X(MAGIC, "magic", FRAME, "does not begin with weir's magic") \
	X(VERSION, "version", FRAME, "a protocol version this side does not speak") \
	X(KIND, "kind", FRAME, "an unknown frame kind, or one that this side never receives") \
	X(LENGTH, "length", FRAME, "body length disagrees with the datagram, or is impossible for the kind") \
	X(COUNT, "count", FRAME, "event or entry count is impossible for the body") \
	X(FLAGS, "flags", FRAME, "unknown or contradictory flags") \
	X(CRC, "crc", FRAME, "checksum mismatch") \
	X(IP_FRAGMENT, "ip-fragment", FRAME, "a fragment of an IP datagram") \
	X(IP_HEADER, "ip-header", FRAME, "malformed IP or UDP header, IP options, or a source that cannot be answered") \
	X(NO_SOCKET, "no-socket", FRAME, "weir frame on a queue without a socket") \
	X(NO_SESSION, "no-session", FRAME, "no such session") \
	X(STRANGER, "stranger", FRAME, "session id from an unproven address") \
	X(COOKIE, "cookie", FRAME, "hello whose cookie is wrong or too old") \
	X(SMALL_HELLO, "small-hello", FRAME, "hello smaller than the answer to it may be") \
	X(SESSIONS, "sessions", FRAME, "session table of the worker is full") \
	X(NO_TOPIC, "no-topic", FINAL, "no such topic") \
	X(NO_SHARD, "no-shard", FINAL, "shard number beyond the topic's shards") \
	X(NO_GROUP, "no-group", FINAL, "no such group on the topic") \
	X(MESH_FULL, "mesh-full", FRAME, "ring to the owning worker is full") \
	X(NO_STREAM, "no-stream", RETRY, "frame for a stream that was never opened here or is gone: open it again") \
	X(STREAMS, "streams", RETRY, "stream table of the shard is full") \
	X(FENCED, "fenced", FINAL, "a higher epoch of the same producer took the stream") \
	X(WRONG_SHARD, "wrong-shard", FINAL, "an event's key belongs to another shard") \
	X(BAD_EVENT, "bad-event", FINAL, "an event header disagrees with the frame body") \
	X(SIZE, "size", FINAL, "event larger than the topic's event_max") \
	X(SCHEMA, "schema", FINAL, "event violates the topic's schema") \
	X(ACL, "acl", FINAL, "not allowed") \
	X(LEVEL, "level", FINAL, "acknowledgement level not offered by the topic") \
	X(FULL, "full", RETRY, "shard log is full under policy block") \
	X(GAP, "gap", RETRY, "frame is ahead of the stream and could not be parked") \
	X(MOVING, "moving", RETRY, "shard is on its way to another worker") \
	X(BUSY, "busy", RETRY, "no reassembly slot or other bounded resource is free") \
	X(DROP_NEW, "drop-new", FINAL, "shard log is full under policy drop-new") \
	X(EXPIRED, "expired", FINAL, "older than its time to live") \
	X(TOPIC_REMOVED, "topic-removed", FINAL, "the topic was removed by configuration") \
	X(LOST, "lost", SKIP, "sequence gap of a stream without acknowledgement") \
	X(ABANDONED, "abandoned", SKIP, "the producer gave these events up") \
	X(FILTERED, "filtered", DROP, "the group's filter did not match") \
	X(CUT_LOOSE, "cut-loose", DROP, "a follow group fell behind its quota, or the log was overwritten") \
	X(DEAD_LETTERED, "dead-lettered", DROP, "moved to the dead-letter topic") \
	X(OVERLOAD, "overload", FRAME, "shed because the dataplane said it is overloaded") \
	X(RATE, "rate", FRAME, "source over its rate limit") \
	X(STALE_TERM, "stale-term", FRAME, "report or settle for a term that is over") \
	X(NO_BUFFER, "no-buffer", FRAME, "no receive buffer, or a frame larger than the port's buffers") \
	X(NO_MEMBER, "no-member", FRAME, "report from a session that is no member of the group") \
	X(DUPLICATE_HELLO, "duplicate-hello", FRAME, "session is already answered from here") \
	X(LATE, "late", FRAME, "a copy of a request that was followed by another one") \
	X(EPOCH, "epoch", FINAL, "the producer's epoch is more than a day ahead of the router's clock") \
	X(QUOTA, "quota", RETRY, "the source of the session has its share of what is scarce") \
	X(MEMBERS, "members", RETRY, "the group has as many members as it may have") \
	X(NOT_OFFERED, "not-offered", FINAL, "asked for something that this router's welcome did not offer") \
	X(PAUSED, "paused", RETRY, "the topic or group is paused by its operator") \
	X(JOURNAL, "journal", RETRY, "the journal cannot take more now") \
	X(ELSEWHERE, "elsewhere", RETRY, "another router of the cluster has the topic") \
	X(WRITER, "writer", FINAL, "the topic is for one writer, and another one has it") \
	X(REJECTED, "rejected", DROP, "a consumer rejected the event for good") \
	X(EXHAUSTED, "exhausted", DROP, "handed out as often as the group allows, and never acknowledged") \
	X(AUTH, "auth", FRAME, "a sealed frame whose tag does not fit its key") \
	X(REPLAY, "replay", FRAME, "a copy of a sealed frame that was taken before")

enum weir_reason_class {
	WEIR_REASON_FRAME,
	WEIR_REASON_RETRY,
	WEIR_REASON_FINAL,
	WEIR_REASON_SKIP,
	WEIR_REASON_DROP,
};

enum weir_reason {
#define WEIR_REASON_ENUM(symbol, name, class, text) WEIR_R_##symbol,
	WEIR_REASONS(WEIR_REASON_ENUM)
#undef WEIR_REASON_ENUM
	WEIR_REASON_COUNT
};

#define WEIR_REASON_ROOM 64u // size of a counter array indexed by reason, in mappings and BPF maps
_Static_assert(WEIR_REASON_COUNT <= WEIR_REASON_ROOM, "reasons must fit the counter rows");
_Static_assert(WEIR_R_NOT_OFFERED == 52 && WEIR_R_REPLAY == 60, "numbers of PROTOCOL.md, section 14");

#ifndef __bpf__
// "full" for WEIR_R_FULL; "unknown" for a number beyond the list. Static storage.
const char *weir_reason_name(unsigned reason);
// One sentence for a person. Static storage.
const char *weir_reason_text(unsigned reason);
// WEIR_REASON_FRAME for a number beyond the list.
enum weir_reason_class weir_reason_class(unsigned reason);
#endif

#endif
