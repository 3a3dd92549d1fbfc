// Joining and leaving groups, as a session's home worker sees it: names are looked up in the snapshot, the group's coordinator
// decides, and what it decided is remembered here, so that a repeated request costs no message.
#include <errno.h>
#include <string.h>

#include "dataplane/core/engine_state.h"

#define WORKING_NS 100000000ull // between two messages that a member is at work
#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))

static struct weir_member **member_find(struct weir_session *session, uint32_t group)
{
	struct weir_member **link = &session->members;
	while (*link && (*link)->group != group)
		link = &(*link)->next;
	return link;
}

static void tell_nothing(struct weir_engine *engine, struct weir_member *member)
{
	if (member->telling)
		TAILQ_REMOVE(&engine->members_telling, member, told_next);
	member->telling = 0;
}

static void member_put(struct weir_engine *engine, struct weir_member *member)
{
	tell_nothing(engine, member);
	member->next = engine->members_free;
	engine->members_free = member;
}

static void member_free(struct weir_engine *engine, struct weir_session *session, struct weir_member **link)
{
	struct weir_member *member = *link;
	*link = member->next;
	session->member_count--;
	member_put(engine, member);
}

// The coordinator is told from the turn's loop, of the last thing only: who leaves or is gone has joined, or need not.
static void tell(struct weir_engine *engine, struct weir_member *member, uint16_t kind)
{
	if (!member->telling)
		TAILQ_INSERT_TAIL(&engine->members_telling, member, told_next);
	member->telling = kind;
	engine->has_work = engine->has_to_tell = true;
}

uint32_t weir_member_tell(struct weir_engine *engine, uint32_t budget)
{
	uint32_t told = 0;
	struct weir_member *next;
	for (struct weir_member *member = TAILQ_FIRST(&engine->members_telling); member && told < budget; member = next) {
		next = TAILQ_NEXT(member, told_next);
		if (!weir_engine_may_tell(engine, member->coordinator))
			continue;
		const struct weir_session *session = weir_session_find(&engine->sessions, member->session);
		const struct weir_message message = {
			.kind = member->telling,
			.topic = member->topic,
			.group = member->group,
			.member = member->number,
			.session = session ? session->ref : (struct weir_session_ref){ .id = member->session },
		};
		uint16_t coordinator = member->coordinator;
		if (member->telling == WEIR_MESSAGE_MEMBER_GONE)
			member_put(engine, member);
		else
			tell_nothing(engine, member);
		weir_engine_tell(engine, coordinator, &message);
		told++;
	}
	return told;
}

static void joined_send(struct weir_engine *engine, const struct weir_session *session, const struct weir_member *member)
{
	const struct weir_topic_spec *topic = weir_snapshot_topic(engine->snapshot, member->topic);
	if (!topic)
		return;
	struct weir_frame_header *frame = weir_frame_to(engine, &session->ref, HEADER_SIZE + sizeof(struct weir_joined));
	if (!frame)
		return;
	frame->kind = WEIR_KIND_JOINED;
	frame->topic = member->topic;
	struct weir_joined body = {
		.request = member->request,
		.group = member->group,
		.shards = topic->shards,
		.event_max = topic->event_max,
	};
	memcpy(frame + 1, &body, sizeof(body));
	weir_frame_send(engine, frame, sizeof(body));
}

static void left_send(struct weir_engine *engine, const struct weir_session *session, const struct weir_leave *what)
{
	struct weir_frame_header *frame = weir_frame_to(engine, &session->ref, HEADER_SIZE + sizeof(struct weir_leave));
	if (!frame)
		return;
	frame->kind = WEIR_KIND_LEFT;
	memcpy(frame + 1, what, sizeof(*what));
	weir_frame_send(engine, frame, sizeof(*what));
}

static struct weir_member *member_new(struct weir_engine *engine, struct weir_session *session, uint32_t topic,
				      const struct weir_group_spec *group)
{
	struct weir_member *member = engine->members_free;
	if (!member || session->member_count >= WEIR_MEMBERS_PER_SESSION)
		return NULL;
	engine->members_free = member->next;
	*member = (struct weir_member){
		.next = session->members,
		.session = session->ref.id,
		.topic = topic,
		.group = group->id.value,
		.coordinator = group->coordinator,
	};
	session->members = member;
	session->member_count++;
	return member;
}

static void leave_begin(struct weir_engine *engine, struct weir_member *member)
{
	if (member->is_leaving)
		return;
	member->is_leaving = true;
	tell(engine, member, WEIR_MESSAGE_MEMBER_LEAVE);
}

// A join that grants or asks for the membership, whose names were found.
static void join(struct weir_engine *engine, struct weir_session *session, struct weir_member *member,
		 const struct weir_join *ask)
{
	member->number = ask->member;
	member->request = ask->request;
	if (member->is_joined) {
		joined_send(engine, session, member);
	} else if (!member->is_joining) {
		member->is_joining = true;
		tell(engine, member, WEIR_MESSAGE_MEMBER_JOIN);
	}
}

enum weir_reason weir_member_join(struct weir_engine *engine, struct weir_session *session,
				  const struct weir_frame_header *frame)
{
	const struct weir_join *ask = (const void *)(frame + 1);
	// A copy that comes late must not bring back what was left since. Its client goes on asking by higher numbers.
	if (ask->request <= session->asked)
		return WEIR_R_LATE;
	session->asked = ask->request;
	const struct weir_topic_spec *topic = weir_snapshot_find(engine->snapshot, ask->topic);
	if (!topic) {
		weir_engine_error(engine, &session->ref, WEIR_R_NO_TOPIC, frame, ask->request, ask->topic);
		return WEIR_R_NO_TOPIC;
	}
	const struct weir_group_spec *group = weir_topic_find_group(topic, ask->group);
	if (!group) {
		weir_engine_error(engine, &session->ref, WEIR_R_NO_GROUP, frame, ask->request, ask->group);
		return WEIR_R_NO_GROUP;
	}
	struct weir_member *member = *member_find(session, group->id.value);
	// The client began anew and knows nothing of the shards that it has here. While leaving, its next repetition finds
	// the way free.
	if (member && member->number != ask->member)
		leave_begin(engine, member);
	if (member && member->is_leaving)
		return WEIR_R_NONE;
	if (!member)
		member = member_new(engine, session, topic->id.value, group);
	if (!member) {
		weir_engine_error(engine, &session->ref, WEIR_R_BUSY, frame, ask->request, ask->group);
		return WEIR_R_BUSY;
	}
	join(engine, session, member, ask);
	return WEIR_R_NONE;
}

enum weir_reason weir_member_leave(struct weir_engine *engine, struct weir_session *session,
				   const struct weir_frame_header *frame)
{
	const struct weir_leave *leave = (const void *)(frame + 1);
	if (leave->request > session->asked)
		session->asked = leave->request;
	struct weir_member *member = session->members;
	while (member && member->number != leave->member)
		member = member->next;
	if (!member) {
		left_send(engine, session, leave);
		return WEIR_R_NONE;
	}
	leave_begin(engine, member);
	member->request = leave->request;
	return WEIR_R_NONE;
}

// What is told of it is bounded by time, for a ping costs its sender nothing.
void weir_member_working(struct weir_engine *engine, struct weir_session *session)
{
	for (struct weir_member *member = session->members; member; member = member->next) {
		bool is_due = !member->working_ns || engine->now_ns - member->working_ns >= WORKING_NS;
		if (!is_due || !member->is_joined || member->is_leaving || member->telling)
			continue;
		member->working_ns = engine->now_ns;
		tell(engine, member, WEIR_MESSAGE_MEMBER_WORKING);
	}
}

void weir_member_joined(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_session *session = weir_session_find(&engine->sessions, message->session.id);
	if (!session)
		return;
	struct weir_member **link = member_find(session, message->group);
	struct weir_member *member = *link;
	if (!member)
		return;
	member->is_joining = false;
	member->is_joined = message->result == 0;
	if (member->is_leaving)
		return; // asked before it knew; the answer to that follows
	if (member->is_joined) {
		joined_send(engine, session, member);
		return;
	}
	const struct weir_frame_header about = { .kind = WEIR_KIND_JOIN };
	enum weir_reason reason = message->result == -ENOENT ? WEIR_R_NO_GROUP :
				  message->result == -EDQUOT ? WEIR_R_QUOTA : WEIR_R_MEMBERS;
	weir_engine_error(engine, &session->ref, reason, &about, member->request, NULL);
	member_free(engine, session, link);
}

void weir_member_left(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_session *session = weir_session_find(&engine->sessions, message->session.id);
	if (!session)
		return;
	struct weir_leave left = { .member = message->member, .group = message->group };
	struct weir_member **link = member_find(session, message->group);
	if (*link && (*link)->number == message->member) {
		left.request = (*link)->is_leaving ? (*link)->request : 0;
		member_free(engine, session, link);
	}
	left_send(engine, session, &left);
}

void weir_member_end_all(struct weir_engine *engine, struct weir_session *session)
{
	while (session->members) {
		struct weir_member *member = session->members;
		session->members = member->next;
		session->member_count--;
		tell(engine, member, WEIR_MESSAGE_MEMBER_GONE);
	}
}
