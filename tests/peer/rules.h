// The rules that weirpeer holds a client to, each with its section of wire/PROTOCOL.md, and the findings: what was broken, how
// often, and the first cases in words.
#ifndef WEIR_PEER_RULES_H
#define WEIR_PEER_RULES_H

#include <stdint.h>
#include <stdio.h>

enum peer_rule {
	PEER_RULE_FRAME,
	PEER_RULE_UNUSED,
	PEER_RULE_HELLO_SIZE,
	PEER_RULE_HELLO_REPEAT,
	PEER_RULE_HELLO_COOKIE,
	PEER_RULE_HELLO_PACE,
	PEER_RULE_NONCE,
	PEER_RULE_IDENTITY,
	PEER_RULE_SESSION,
	PEER_RULE_FRAME_SIZE,
	PEER_RULE_PING,
	PEER_RULE_LEASE,
	PEER_RULE_TOPIC,
	PEER_RULE_OPEN_FIRST,
	PEER_RULE_NEXT,
	PEER_RULE_SEQUENCE,
	PEER_RULE_REPEAT,
	PEER_RULE_EVENTS,
	PEER_RULE_CREDIT,
	PEER_RULE_WINDOW,
	PEER_RULE_RETRANSMISSION,
	PEER_RULE_SKIP,
	PEER_RULE_CLOSE,
	PEER_RULE_ASSIGN,
	PEER_RULE_TERM,
	PEER_RULE_REPORT_FALLS,
	PEER_RULE_REPORT_BEYOND,
	PEER_RULE_REPORT_PACE,
	PEER_RULE_GAP,
	PEER_RULE_PROGRESS,
	PEER_RULE_CHARGED,
	PEER_RULE_GRANT,
	PEER_RULE_REVOKED,
	PEER_RULE_LIMIT
};

#define PEER_CASES 3 // told in words, of each rule

struct peer_finding {
	uint64_t times;
	double at_s[PEER_CASES]; // since the start
	char what[PEER_CASES][160];
};

struct peer_findings {
	uint64_t total;
	struct peer_finding of[PEER_RULE_LIMIT];
};

// "credit", "9", and what a client does.
const char *peer_rule_name(enum peer_rule rule);
const char *peer_rule_section(enum peer_rule rule);
const char *peer_rule_text(enum peer_rule rule);

// Notes a breach at that time. The words say what was seen and what was due.
__attribute__((format(printf, 4, 5)))
void peer_finding_add(struct peer_findings *findings, enum peer_rule rule, double at_s, const char *format, ...);

// All that was broken, for a person or as the members of a JSON array.
void peer_findings_print(const struct peer_findings *findings, FILE *out);
void peer_findings_json(const struct peer_findings *findings, FILE *out);

#endif
