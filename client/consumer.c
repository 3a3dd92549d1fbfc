// A consumer's place in its group: join, assignments and their end, reports with credit, leave (wire/PROTOCOL.md,
// sections 11 and 12).
#include "client/consumer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_NS (100 * MS)
#define REPORT_SPACING_NS 100000u     // between two reports of progress that nobody waits for, unless much came meanwhile
#define SIGN_PINGS 2u // a member that heard nothing of its group for so many ping times asks whether it still is one
#define CREDIT_LEAST_FRAMES 2u // of a single assignment, however many share the buffer

// ---- Open ----

// A new membership is asked for. What the router still says of earlier ones is told apart by its name.
static void join_begin(struct weir_consumer *consumer, uint64_t now_ns)
{
	consumer->state = CONSUMER_JOINING;
	consumer->member = 0;
	request_start(consumer->core, &consumer->request, now_ns);
}

int weir_core_consumer_open(struct weir_core *core, const char *topic, const char *group,
			    const struct weir_consumer_options *options, struct weir_consumer **consumer)
{
	char topic_name[WEIR_NAME_SIZE];
	char group_name[WEIR_NAME_SIZE];
	if (strlen(topic) >= WEIR_NAME_SIZE || strlen(group) >= WEIR_NAME_SIZE)
		return -ENAMETOOLONG;
	if (!name_copy(topic_name, topic) || !name_copy(group_name, group))
		return -EINVAL;
	for (struct weir_consumer *other = core->consumers; other; other = other->next) {
		if (memcmp(other->topic_name, topic_name, WEIR_NAME_SIZE) == 0 &&
		    memcmp(other->group_name, group_name, WEIR_NAME_SIZE) == 0)
			return -EEXIST;
	}
	struct weir_consumer *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->core = core;
	made->is_by_hand = options && options->settle_by_hand;
	made->credit_bytes = options ? options->credit_bytes : 0;
	memcpy(made->topic_name, topic_name, WEIR_NAME_SIZE);
	memcpy(made->group_name, group_name, WEIR_NAME_SIZE);
	made->next = core->consumers;
	core->consumers = made;
	core->consumer_count++;
	join_begin(made, core->now_ns);
	*consumer = made;
	return 0;
}

struct weir_core *weir_consumer_core(const struct weir_consumer *consumer)
{
	return consumer->core;
}

static void assignments_free(struct weir_consumer *consumer)
{
	consumer_parcels_drop(consumer);
	consumer_release(consumer);
	for (uint32_t i = 0; i < consumer->shards; i++) {
		assignment_assembly_drop(consumer, &consumer->assignments[i]);
		place_end(consumer, &consumer->assignments[i]);
	}
	free(consumer->assignments);
	free(consumer->held);
	free(consumer->touched);
	consumer->assignments = NULL;
	consumer->held = consumer->touched = NULL;
	consumer->held_count = consumer->touched_count = consumer->shards = 0;
}

void weir_core_consumer_free(struct weir_consumer *consumer)
{
	struct weir_core *core = consumer->core;
	struct weir_consumer **link = &core->consumers;
	while (*link != consumer)
		link = &(*link)->next;
	*link = consumer->next;
	core->consumer_count--;
	assignments_free(consumer);
	free(consumer);
	core_due(core, core->now_ns);
}

void consumers_free(struct weir_core *core)
{
	while (core->consumers)
		weir_core_consumer_free(core->consumers);
}

int weir_core_consumer_state(const struct weir_consumer *consumer)
{
	bool is_unknown = consumer->refusal == WEIR_R_NO_TOPIC || consumer->refusal == WEIR_R_NO_GROUP;
	if (consumer->state == CONSUMER_REFUSED && is_unknown)
		return -ENOENT;
	// Others are for now: it asks again.
	return consumer->state == CONSUMER_MEMBER ? 0 : -EAGAIN;
}

// ---- Join and leave ----

// Only the answer to the last join counts: an earlier one's may be of an earlier state of things.
static struct weir_consumer *consumer_of_request(struct weir_core *core, uint64_t request)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		if (consumer->request.id == request && consumer->member && consumer->state <= CONSUMER_MEMBER)
			return consumer;
	}
	return NULL;
}

static struct weir_consumer *consumer_of_member(struct weir_core *core, uint64_t member)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		if (consumer->member == member && member)
			return consumer;
	}
	return NULL;
}

static struct weir_consumer *consumer_of_group(struct weir_core *core, uint32_t group)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		if (consumer->group == group && consumer->assignments)
			return consumer;
	}
	return NULL;
}

// Nothing of the membership holds any more, on either side.
static void assignments_end(struct weir_consumer *consumer)
{
	consumer_parcels_drop(consumer);
	for (uint32_t i = 0; i < consumer->shards; i++) {
		struct assignment *assignment = &consumer->assignments[i];
		assignment_assembly_drop(consumer, assignment);
		place_end(consumer, assignment);
		assignment->state = ASSIGNMENT_NONE;
		assignment->term = 0;
		assignment->is_dirty = false;
	}
	consumer->held_count = 0;
}

// 0 or -ENOMEM.
static int assignments_build(struct weir_consumer *consumer, uint32_t shards)
{
	if (consumer->shards == shards)
		return 0;
	assignments_free(consumer);
	consumer->assignments = calloc(shards, sizeof(*consumer->assignments));
	consumer->held = calloc(shards, sizeof(*consumer->held));
	consumer->touched = calloc(shards, sizeof(*consumer->touched));
	if (!consumer->assignments || !consumer->held || !consumer->touched) {
		assignments_free(consumer);
		return -ENOMEM;
	}
	consumer->shards = shards;
	for (uint32_t i = 0; i < shards; i++)
		consumer->assignments[i].shard = (uint16_t)i;
	return 0;
}

void consumers_joined(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_joined *joined = (const void *)(frame + 1);
	struct weir_consumer *consumer = consumer_of_request(core, joined->request);
	if (!consumer || joined->shards == 0 || joined->shards > WEIR_SHARDS_MAX || joined->event_max > WEIR_EVENT_LIMIT)
		return;
	if (joined->mode != WEIR_MODE_KEYED) {
		core->statistics.frames_bad++;
		consumer->refusal = WEIR_R_NOT_OFFERED;
		return;
	}
	// Another group of the name: it ended and came again.
	if (consumer->state == CONSUMER_MEMBER && consumer->group != joined->group)
		assignments_end(consumer);
	if (assignments_build(consumer, joined->shards)) {
		join_begin(consumer, core->now_ns + REQUEST_FIRST_NS);
		return;
	}
	consumer->topic = frame->topic;
	consumer->group = joined->group;
	consumer->event_max = joined->event_max;
	consumer->state = CONSUMER_MEMBER;
	consumer->has_ended = false;
	consumer->refusal = 0;
	consumer->heard_ns = core->now_ns;
	consumer->request.due_ns = NEVER;
}

// The group or topic is not there any more: asks until it is again.
static void consumer_ended(struct weir_consumer *consumer)
{
	consumer->has_ended = true;
	assignments_end(consumer);
	join_begin(consumer, consumer->core->now_ns);
}

void consumers_error(struct weir_core *core, const struct weir_error *error)
{
	struct weir_consumer *consumer = consumer_of_request(core, error->request);
	if (!consumer)
		return;
	if (consumer->state == CONSUMER_MEMBER) {
		consumer_ended(consumer);
		request_is_due(core, &consumer->request, core->now_ns); // it was asked just now
	}
	consumer->state = CONSUMER_REFUSED;
	consumer->refusal = error->reason;
	core_due(core, core->now_ns);
}

void weir_core_consumer_leave(struct weir_consumer *consumer)
{
	struct weir_core *core = consumer->core;
	if (consumer->state >= CONSUMER_LEAVING)
		return;
	consumer_parcels_drop(consumer);
	consumer_release(consumer);
	for (uint32_t i = 0; i < consumer->held_count; i++) {
		struct assignment *assignment = &consumer->assignments[consumer->held[i]];
		assignment->is_dirty = assignment->is_pressing = true;
	}
	// A join that is under way may make it a member yet: that is left as well.
	bool is_asked = consumer->member && core->session.state == SESSION_READY;
	consumer->state = is_asked ? CONSUMER_LEAVING : CONSUMER_OUT;
	request_start(core, &consumer->request, core->now_ns);
}

void consumers_left(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_leave *left = (const void *)(frame + 1);
	struct weir_consumer *consumer = consumer_of_member(core, left->member);
	if (!consumer)
		return;
	if (consumer->state == CONSUMER_LEAVING)
		consumer->state = CONSUMER_OUT;
	else if (consumer->state == CONSUMER_MEMBER && consumer->group == left->group)
		consumer_ended(consumer);
	else if (consumer->state == CONSUMER_JOINING)
		join_begin(consumer, core->now_ns); // it was over before its JOINED came
	core_due(core, core->now_ns);
}

bool weir_core_consumer_has_left(const struct weir_consumer *consumer)
{
	return consumer->state == CONSUMER_OUT;
}

void consumers_close(struct weir_core *core)
{
	for (struct weir_consumer *consumer = core->consumers, *next = NULL; consumer; consumer = next) {
		next = consumer->next;
		weir_core_consumer_leave(consumer);
		if (consumer->state == CONSUMER_OUT)
			weir_core_consumer_free(consumer);
	}
}

void consumers_session_new(struct weir_core *core, uint64_t now_ns)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		if (consumer->state >= CONSUMER_LEAVING)
			continue;
		join_begin(consumer, now_ns);
	}
}

// The term ends. What the router does not know to be settled may be handed out again, here or elsewhere.
static void assignment_keep(struct weir_consumer *consumer, struct assignment *assignment, uint64_t known_to)
{
	consumer->counts.unsettled += assignment->handed_to - min_u64(known_to, assignment->handed_to);
	assignment->kept = (struct kept){
		.incarnation = assignment->incarnation,
		.settled_to = assignment->settled_to,
		.handed_to = assignment->handed_to,
		.group = consumer->group,
		.term = assignment->term,
	};
}

static void assignments_keep(struct weir_consumer *consumer)
{
	for (uint32_t i = 0; i < consumer->held_count; i++) {
		struct assignment *assignment = &consumer->assignments[consumer->held[i]];
		assignment_keep(consumer, assignment, assignment->told_to);
	}
}

void consumers_asked(struct weir_core *core)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		for (uint32_t i = 0; i < consumer->held_count; i++) {
			struct assignment *assignment = &consumer->assignments[consumer->held[i]];
			bool is_told = assignment->reading == READING_PLACE; // by a word in memory
			assignment->asked_settled = is_told ? assignment->settled_to : assignment->reported_settled;
		}
	}
}

void consumers_told(struct weir_core *core)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		for (uint32_t i = 0; i < consumer->held_count; i++) {
			struct assignment *assignment = &consumer->assignments[consumer->held[i]];
			assignment->told_to = assignment->asked_settled;
		}
	}
}

void consumers_session_lost(struct weir_core *core)
{
	core->answer_count = 0;
	core->stray_member = 0;
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		assignments_keep(consumer);
		assignments_end(consumer);
		consumer->state = consumer->state >= CONSUMER_LEAVING ? CONSUMER_OUT : CONSUMER_JOINING;
		consumer->has_ended = false;
		consumer->request.due_ns = NEVER;
	}
}

// ---- Assign and revoke ----

void consumers_assign(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_assign *assign = (const void *)(frame + 1);
	struct weir_consumer *consumer = consumer_of_member(core, assign->member);
	// The router believes in a membership that nobody has.
	if (!consumer)
		core->stray_member = assign->member;
	if (!consumer || consumer->state != CONSUMER_MEMBER || consumer->group != assign->group)
		return;
	consumer->heard_ns = core->now_ns;
	if (frame->topic != consumer->topic || frame->shard >= consumer->shards)
		return;
	struct assignment *assignment = &consumer->assignments[frame->shard];
	if (assign->term < assignment->term)
		return;
	core->is_urgent = true;
	core_due(core, core->now_ns);
	if (assign->term == assignment->term) {
		assignment->is_dirty = assignment->state == ASSIGNMENT_ACTIVE && assignment->reading != READING_ASKED;
		assignment->is_pressing = assignment->is_dirty;
		return;
	}
	if (assignment->state == ASSIGNMENT_NONE)
		consumer->held[consumer->held_count++] = frame->shard;
	else
		assignment_keep(consumer, assignment, assignment->settled_to);
	assignment_assembly_drop(consumer, assignment);
	place_end(consumer, assignment);
	*assignment = (struct assignment){
		.incarnation = assign->incarnation,
		.received_to = assign->from,
		.handed_to = assign->from,
		.event_end = assign->from,
		.settled_to = assign->from,
		.redelivered_to = assign->redelivered_to,
		.gap_at = UINT64_MAX,
		.term = assign->term,
		.handle = frame->stream,
		.shard = frame->shard,
		.state = ASSIGNMENT_ACTIVE,
		.is_dirty = true,
		.is_pressing = true,
		.is_touched = assignment->is_touched,
		.reported_settled = assign->from,
		.asked_settled = assign->from,
		.told_to = assign->from,
		.kept = assignment->kept,
	};
	if (core->local && frame->flags & WEIR_FLAG_IN_PLACE)
		place_begin(consumer, assignment, frame);
}

static void answer(struct weir_core *core, const struct weir_frame_header *frame, uint64_t settled_to, uint64_t handed_to)
{
	const struct weir_revoke *revoke = (const void *)(frame + 1);
	core->is_urgent = true;
	core_due(core, core->now_ns);
	if (core->answer_count == ANSWERS_MAX)
		return;
	core->answers[core->answer_count++] = (struct answer){
		.settled_to = settled_to,
		.handed_to = handed_to,
		.topic = frame->topic,
		.stream = frame->stream,
		.group = revoke->group,
		.term = revoke->term,
		.shard = frame->shard,
	};
}

void consumers_revoke(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_revoke *revoke = (const void *)(frame + 1);
	struct weir_consumer *consumer = consumer_of_group(core, revoke->group);
	if (!consumer || frame->shard >= consumer->shards) {
		answer(core, frame, 0, UINT64_MAX);
		return;
	}
	struct assignment *assignment = &consumer->assignments[frame->shard];
	if (revoke->term != assignment->term) {
		answer(core, frame, 0, UINT64_MAX);
		return;
	}
	if (assignment->state == ASSIGNMENT_NONE) {
		answer(core, frame, assignment->settled_to, assignment->handed_to);
		return;
	}
	core->is_urgent = true;
	core_due(core, core->now_ns);
	if (assignment->state == ASSIGNMENT_REVOKING)
		return;
	assignment->state = ASSIGNMENT_REVOKING;
	assignment->revoke_ns = core->now_ns + core->session.lease_ns / 3;
	assignment_assembly_drop(consumer, assignment);
}

static void revoked_send(struct weir_core *core, const struct answer *owed)
{
	struct weir_frame_header *frame = core_frame(core, WEIR_KIND_REVOKED, sizeof(struct weir_revoke));
	if (!frame)
		return; // the router asks again
	struct weir_revoke *revoked = (struct weir_revoke *)(frame + 1);
	frame->topic = owed->topic;
	frame->shard = owed->shard;
	frame->stream = owed->stream;
	frame->sequence = owed->handed_to;
	revoked->settled_to = owed->settled_to;
	revoked->group = owed->group;
	revoked->term = owed->term;
	core_frame_send(core, frame, sizeof(*revoked));
}

// Ends what the application is done with. Returns whether the assignment is over.
static bool revoking_poll(struct weir_consumer *consumer, struct assignment *assignment, uint64_t now_ns)
{
	struct weir_core *core = consumer->core;
	// Who leaves settles nothing more; there is nobody to wait for.
	bool may_settle = consumer->state == CONSUMER_MEMBER && assignment->settled_to < assignment->handed_to;
	if (may_settle && now_ns < assignment->revoke_ns) {
		core_due(core, assignment->revoke_ns);
		return false;
	}
	struct answer owed = {
		.settled_to = assignment->settled_to,
		.handed_to = assignment->handed_to,
		.topic = consumer->topic,
		.stream = assignment->handle,
		.group = consumer->group,
		.term = assignment->term,
		.shard = assignment->shard,
	};
	revoked_send(core, &owed);
	assignment_keep(consumer, assignment, assignment->settled_to);
	place_end(consumer, assignment);
	assignment->state = ASSIGNMENT_NONE;
	assignment->is_dirty = false;
	return true;
}

// ---- Reports ----

static uint64_t credit_of(const struct weir_consumer *consumer)
{
	return consumer->credit_bytes ? consumer->credit_bytes : consumer->core->credit_bytes / consumer->core->consumer_count;
}

uint64_t consumer_share(const struct weir_consumer *consumer)
{
	uint64_t least = CREDIT_LEAST_FRAMES * (uint64_t)weir_charge(consumer->core->session.frame_size);
	return max_u64(credit_of(consumer) / max_u64(consumer->held_count, 1), least);
}

// What the router may still send, or has sent and nobody took.
static uint64_t outstanding(const struct assignment *assignment)
{
	uint64_t taken = assignment->charged - assignment->held;
	return assignment->limit > taken ? assignment->limit - taken : 0;
}

// Grants the assignment its share, but in total no more than the receive buffer holds: what others were granted when
// there were fewer of them is not taken back, it runs out.
static void grant(struct weir_consumer *consumer, struct assignment *assignment, uint64_t *total)
{
	uint64_t most = credit_of(consumer);
	uint64_t least = weir_charge(consumer->core->session.frame_size);
	uint64_t has = outstanding(assignment);
	uint64_t share = consumer_share(consumer);
	if (has >= share)
		return;
	uint64_t more = share - has;
	uint64_t left = most > *total ? most - *total : 0;
	if (more > left)
		more = left;
	// Without room for a single frame it would wait for ever.
	if (has + more < least)
		more = least - has;
	*total += more;
	assignment->limit = max_u64(assignment->limit, assignment->charged - assignment->held + has + more);
}

#define REPORT_ENTRIES \
	((WEIR_FRAME_LIST_MAX - (uint32_t)sizeof(struct weir_frame_header)) / (uint32_t)sizeof(struct weir_report_entry))

struct report {
	struct weir_frame_header *frame;
	uint32_t entries;
};

static void report_send(struct weir_core *core, struct report *report)
{
	if (!report->frame)
		return;
	report->frame->count = (uint16_t)report->entries;
	core_frame_send(core, report->frame, report->entries * (uint32_t)sizeof(struct weir_report_entry));
	report->frame = NULL;
	report->entries = 0;
}

static bool report_add(struct weir_consumer *consumer, struct assignment *assignment, struct report *report)
{
	struct weir_core *core = consumer->core;
	if (!report->frame) {
		report->frame = core_frame(core, WEIR_KIND_REPORT, REPORT_ENTRIES * (uint32_t)sizeof(struct weir_report_entry));
		if (!report->frame)
			return false;
	}
	struct weir_report_entry *entry = (struct weir_report_entry *)(report->frame + 1) + report->entries++;
	*entry = (struct weir_report_entry){
		.topic = consumer->topic,
		.shard = assignment->shard,
		.flags = assignment->has_gap ? WEIR_REPORT_GAP : 0,
		.stream = assignment->handle,
		.term = assignment->term,
		.received_to = assignment->received_to,
		.settled_to = assignment->settled_to,
		.limit = assignment->limit,
		.charged = assignment->charged,
		.fragment_to = assignment->fragment_to,
		.group = consumer->group,
	};
	if (assignment->reading == READING_PLACE) {
		entry->flags = WEIR_REPORT_IN_PLACE;
		entry->limit = assignment->place.cursor;
		entry->charged = assignment->place.tag;
	}
	assignment->is_dirty = false;
	assignment->is_pressing = false;
	assignment->has_gap = false;
	assignment->reported_ns = core->now_ns;
	assignment->reported_settled = assignment->settled_to;
	assignment->reported_charged = assignment->charged;
	if (report->entries == REPORT_ENTRIES)
		report_send(core, report);
	return true;
}

// A report costs a system call here and a frame there: where events come one by one, not each is worth one.
static bool report_is_due(const struct assignment *assignment, bool is_open, uint64_t now_ns)
{
	uint64_t age_ns = now_ns - assignment->reported_ns;
	if (!assignment->is_dirty)
		return is_open && age_ns >= REPORT_NS;
	return assignment->is_pressing || age_ns >= REPORT_SPACING_NS || assignment->reading != READING_FRAMES ||
	       assignment->state != ASSIGNMENT_ACTIVE || assignment->charged - assignment->reported_charged >= REPORT_CHARGE;
}

static void reports_poll(struct weir_consumer *consumer, struct report *report, uint64_t now_ns)
{
	struct weir_core *core = consumer->core;
	uint64_t total = 0;
	for (uint32_t i = 0; i < consumer->held_count; i++) {
		const struct assignment *assignment = &consumer->assignments[consumer->held[i]];
		total += assignment->reading == READING_FRAMES ? outstanding(assignment) : 0;
	}
	for (uint32_t i = 0; i < consumer->held_count; i++) {
		struct assignment *assignment = &consumer->assignments[consumer->held[i]];
		bool is_framed = assignment->reading == READING_FRAMES;
		bool is_open = is_framed && (assignment->settled_to < assignment->received_to || assignment->fragment_to);
		if (report_is_due(assignment, is_open, now_ns)) {
			if (is_framed)
				grant(consumer, assignment, &total);
			if (!report_add(consumer, assignment, report))
				return;
		}
		if (is_open || assignment->is_dirty)
			core_due(core, assignment->reported_ns + (assignment->is_dirty ? REPORT_SPACING_NS : REPORT_NS));
	}
}

void consumers_reports_again(struct weir_core *core)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		for (uint32_t i = 0; i < consumer->held_count; i++) {
			struct assignment *assignment = &consumer->assignments[consumer->held[i]];
			assignment->is_dirty = assignment->is_pressing = true;
		}
	}
}

// ---- Poll ----

static void join_send(struct weir_consumer *consumer)
{
	struct weir_core *core = consumer->core;
	struct weir_frame_header *frame = core_frame(core, WEIR_KIND_JOIN, sizeof(struct weir_join));
	if (!frame)
		return;
	struct weir_join *join = (struct weir_join *)(frame + 1);
	request_renew(core, &consumer->request);
	if (!consumer->member)
		consumer->member = consumer->request.id;
	join->request = consumer->request.id;
	join->member = consumer->member;
	memcpy(join->topic, consumer->topic_name, WEIR_NAME_SIZE);
	memcpy(join->group, consumer->group_name, WEIR_NAME_SIZE);
	core_frame_send(core, frame, sizeof(*join));
}

static void leave_send(struct weir_core *core, uint64_t request, uint64_t member)
{
	struct weir_frame_header *frame = core_frame(core, WEIR_KIND_LEAVE, sizeof(struct weir_leave));
	if (!frame)
		return;
	*(struct weir_leave *)(frame + 1) = (struct weir_leave){ .request = request, .member = member };
	core_frame_send(core, frame, sizeof(struct weir_leave));
}

static void leave_poll(struct weir_consumer *consumer, uint64_t now_ns)
{
	if (!request_is_due(consumer->core, &consumer->request, now_ns))
		return;
	request_renew(consumer->core, &consumer->request);
	leave_send(consumer->core, consumer->request.id, consumer->member);
}

static void stray_leave(struct weir_core *core)
{
	if (core->stray_member)
		leave_send(core, ++core->request, core->stray_member);
	core->stray_member = 0;
}

// A member that hears nothing of its group asks by its join whether it still is one.
static void sign_poll(struct weir_consumer *consumer, uint64_t now_ns)
{
	uint64_t wait_ns = SIGN_PINGS * consumer->core->session.ping_ns;
	if (now_ns >= consumer->heard_ns + wait_ns) {
		consumer->heard_ns = now_ns;
		join_send(consumer);
	}
	core_due(consumer->core, consumer->heard_ns + wait_ns);
}

static void revokes_poll(struct weir_consumer *consumer, uint64_t now_ns)
{
	for (uint32_t i = 0; i < consumer->held_count;) {
		struct assignment *assignment = &consumer->assignments[consumer->held[i]];
		if (assignment->state == ASSIGNMENT_REVOKING && revoking_poll(consumer, assignment, now_ns))
			consumer->held[i] = consumer->held[--consumer->held_count];
		else
			i++;
	}
}

void consumers_poll(struct weir_core *core, uint64_t now_ns)
{
	struct report report = { 0 };
	for (uint32_t i = 0; i < core->answer_count; i++)
		revoked_send(core, &core->answers[i]);
	core->answer_count = 0;
	stray_leave(core);
	for (struct weir_consumer *consumer = core->consumers, *next = NULL; consumer; consumer = next) {
		next = consumer->next;
		if (consumer->state <= CONSUMER_REFUSED && request_is_due(core, &consumer->request, now_ns))
			join_send(consumer);
		else if (consumer->state == CONSUMER_MEMBER)
			sign_poll(consumer, now_ns);
		revokes_poll(consumer, now_ns);
		reports_poll(consumer, &report, now_ns);
		report_send(core, &report);
		if (consumer->state == CONSUMER_LEAVING)
			leave_poll(consumer, now_ns);
		if (core->is_closing && consumer->state == CONSUMER_OUT)
			weir_core_consumer_free(consumer);
	}
}

// ---- What the application may ask ----

enum weir_membership weir_consumer_membership(const struct weir_consumer *consumer)
{
	if (consumer->state == CONSUMER_MEMBER)
		return WEIR_MEMBERSHIP_MEMBER;
	if (consumer->state >= CONSUMER_LEAVING)
		return WEIR_MEMBERSHIP_LEFT;
	if (consumer->has_ended)
		return WEIR_MEMBERSHIP_ENDED;
	return consumer->state == CONSUMER_REFUSED ? WEIR_MEMBERSHIP_REFUSED : WEIR_MEMBERSHIP_JOINING;
}

unsigned weir_consumer_refusal(const struct weir_consumer *consumer)
{
	return consumer->refusal;
}

void weir_consumer_counts(const struct weir_consumer *consumer, struct weir_consumer_counts *counts)
{
	*counts = consumer->counts;
	counts->shards = consumer->held_count;
}

int weir_consumer_assignments(const struct weir_consumer *consumer, struct weir_assignment *assignments, int most)
{
	int count = 0;
	for (uint32_t i = 0; i < consumer->held_count && count < most; i++) {
		const struct assignment *assignment = &consumer->assignments[consumer->held[i]];
		if (assignment->state != ASSIGNMENT_ACTIVE)
			continue;
		assignments[count++] = (struct weir_assignment){
			.incarnation = assignment->incarnation,
			.received_to = assignment->received_to,
			.settled_to = assignment->settled_to,
			.term = assignment->term,
			.shard = assignment->shard,
		};
	}
	return count;
}
