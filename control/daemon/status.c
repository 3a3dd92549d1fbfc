// `weirctl status`: placement, workers, ports, topics with the owners of their shards, groups with their members. Each row
// is read once and consistently (dataplane/core/counters.h); rows of different workers belong to slightly different
// instants. Control thread.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/daemon/answer.h"
#include "control/daemon/lanes.h"
#include "control/daemon/ports.h"
#include "lib/clock.h"
#include "wire/reason.h"

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

json_t *weir_answer_id(uint64_t id)
{
	char text[24];

	if (id == 0)
		return json_null();
	snprintf(text, sizeof(text), "0x%016" PRIx64, id);
	return json_string(text);
}

// A session's name: worker.number, null for none.
json_t *weir_answer_session(uint64_t name)
{
	char text[24];

	if (name == 0)
		return json_null();
	snprintf(text, sizeof(text), "%u.%u", (unsigned)(name >> 32), (unsigned)name);
	return json_string(text);
}

json_t *weir_answer_reasons(const uint64_t counters[])
{
	json_t *reasons = json_object();

	for (unsigned r = 0; r < WEIR_REASON_COUNT; r++) {
		if (counters[r])
			json_object_set_new(reasons, weir_reason_name(r), number(counters[r]));
	}
	return reasons;
}

static json_t *warnings_of(const struct weir_plan *plan)
{
	json_t *warnings = json_array();

	for (uint32_t i = 0; i < plan->warning_count && i < WEIR_PLAN_WARNINGS_MAX; i++)
		json_array_append_new(warnings, json_string(plan->warnings[i]));
	return warnings;
}

// ---- Workers ----

static void worker_rates(json_t *json, const struct weir_router_worker *worker)
{
	double time = worker->busy.per_second + worker->idle.per_second + worker->sleep.per_second;

	if (time <= 0)
		time = 1;
	json_object_set_new(json, "busy_ratio", json_real(worker->busy.per_second / time));
	json_object_set_new(json, "idle_ratio", json_real(worker->idle.per_second / time));
	json_object_set_new(json, "sleep_ratio", json_real(worker->sleep.per_second / time));
	json_object_set_new(json, "received_per_second", json_real(worker->received.per_second));
	json_object_set_new(json, "sent_per_second", json_real(worker->sent.per_second));
	json_object_set_new(json, "turn_max_ns", number(worker->turn_max_ns));
	json_object_set_new(json, "stalled", json_boolean(worker->is_stalled));
}

static json_t *worker_json(const struct weir_router *router, uint32_t index, const struct weir_worker_row *row)
{
	const struct weir_plan_worker *placed = &router->plan->workers[index];
	json_t *json = json_pack("{s:i, s:i, s:i, s:s, s:i}", "worker", (int)index, "core", (int)placed->cpu, "node",
				 (int)placed->node, "reason", placed->reason, "shards", (int)placed->shards);
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "log_bytes", placed->log_bytes },
		{ "l2_bytes", placed->l2_bytes },
		{ "l3_bytes", placed->l3_bytes },
		{ "received", row->received },
		{ "received_bytes", row->received_bytes },
		{ "handed_on", row->handed_on },
		{ "sent", row->sent },
		{ "sent_bytes", row->sent_bytes },
		{ "send_blocked", row->send_blocked },
		{ "mesh_enqueued", row->mesh_enqueued },
		{ "mesh_dequeued", row->mesh_dequeued },
		{ "sessions", row->sessions },
		{ "sessions_opened", row->sessions_opened },
		{ "loops", row->loops },
		{ "busy_ns", row->busy_ns },
		{ "idle_ns", row->idle_ns },
		{ "sleep_ns", row->sleep_ns },
		{ "parked_frames", row->parked_frames },
		{ "reassembly_slots", row->reassembly_slots },
		{ "path_steps", row->path_steps },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(json, numbers[i].key, number(numbers[i].value));
	json_object_set_new(json, "refused", weir_answer_reasons(row->refused));
	worker_rates(json, &router->workers[index]);
	return json;
}

static json_t *workers_json(const struct weir_router *router, uint64_t *sessions)
{
	struct weir_counters_view view = weir_counters_look(weir_dataplane_counters(router->dataplane));
	json_t *workers = json_array();
	struct weir_worker_row row;

	*sessions = 0;
	for (uint32_t w = 0; w < router->topology->worker_count; w++) {
		if (weir_row_read(&row, &view.workers[w], sizeof(row)) != 0)
			memset(&row, 0, sizeof(row));
		*sessions += row.sessions;
		json_array_append_new(workers, worker_json(router, w, &row));
	}
	return workers;
}

// ---- Ports ----

static json_t *queue_json(const struct weir_port *port)
{
	const struct weir_port_statistics *statistics = &port->statistics;
	uint64_t dropped[WEIR_REASON_ROOM];
	uint32_t buffers = 0;
	json_t *json;

	for (unsigned r = 0; r < WEIR_REASON_ROOM; r++)
		dropped[r] = weir_counted(&statistics->dropped[r]);
	json = json_pack("{s:i, s:i, s:i, s:I, s:I, s:b}", "queue", port->queue, "worker", port->worker, "udp_port",
			 port->udp_port, "mtu", (json_int_t)port->mtu, "frame_max", (json_int_t)port->frame_max, "link",
			 port->ops->link_is_up ? port->ops->link_is_up(port) : true);
	json_object_set_new(json, "received", number(weir_counted(&statistics->received)));
	json_object_set_new(json, "received_bytes", number(weir_counted(&statistics->received_bytes)));
	json_object_set_new(json, "receive_calls", number(weir_counted(&statistics->receive_calls)));
	json_object_set_new(json, "sent", number(weir_counted(&statistics->sent)));
	json_object_set_new(json, "sent_bytes", number(weir_counted(&statistics->sent_bytes)));
	json_object_set_new(json, "send_calls", number(weir_counted(&statistics->send_calls)));
	json_object_set_new(json, "send_blocked", number(weir_counted(&statistics->send_blocked)));
	json_object_set_new(json, "send_lost", number(weir_counted(&statistics->send_lost)));
	json_object_set_new(json, "passed", number(weir_counted(&statistics->passed)));
	json_object_set_new(json, "dropped", weir_answer_reasons(dropped));
	if (port->ops->buffers_free)
		json_object_set_new(json, "buffers_free", number(port->ops->buffers_free(port, &buffers)));
	json_object_set_new(json, "buffers", number(buffers));
	return json;
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static json_t *port_json(const struct weir_router *router, uint32_t index)
{
	const struct weir_topology_port *port = &router->topology->ports[index];
	const struct weir_plan_port *placed = &router->plan->ports[index];
	struct weir_guard *guard = NULL;
	json_t *queues = json_array();
	json_t *json;

	for (uint16_t q = 0; q < port->worker_count; q++) {
		const struct weir_port *open = weir_dataplane_port(router->dataplane, index, q);

		if (!open)
			continue;
		json_array_append_new(queues, queue_json(open));
		guard = open->guard ? open->guard : guard;
	}
	json = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:i, s:s, s:o, s:s, s:o}", "name", port->name, "kind",
			 weir_topology_port_kind_name(port->kind), "interface", text_or_null(port->interface), "device",
			 text_or_null(port->device), "socket", text_or_null(port->socket), "address",
			 text_or_null(port->address), "udp_port", (int)port->udp_port,
			 "integrity", port->integrity == WEIR_INTEGRITY_LINK ? "link" : "full", "node",
			 placed->node >= 0 ? json_integer(placed->node) : json_null(), "reason", placed->reason, "queues",
			 queues);
	weir_ports_describe(router, index, json);
	json_object_set_new(json, "xdp", weir_answer_xdp(router, guard));
	return json;
}

// ---- Lanes ----

static json_t *lane_json(const struct weir_lane *lane, uint32_t readers)
{
	json_t *json = json_pack("{s:I, s:s, s:i, s:I, s:s, s:i, s:o}", "lane", (json_int_t)lane->number, "name", lane->name,
				 "pid", (int)lane->owner.pid, "uid", (json_int_t)lane->owner.uid, "program",
				 lane->owner.program, "worker", lane->worker, "session",
				 weir_answer_session(weir_counted(&lane->session)));
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "memory_bytes", weir_lane_bytes(lane) },
		{ "readers", readers },
		{ "received", weir_counted(&lane->frames_in) },
		{ "received_bytes", weir_counted(&lane->bytes_in) },
		{ "sent", weir_counted(&lane->frames_out) },
		{ "sent_bytes", weir_counted(&lane->bytes_out) },
		{ "dropped", weir_counted(&lane->dropped) },
		{ "lost", weir_counted(&lane->lost) },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(json, numbers[i].key, number(numbers[i].value));
	return json;
}

// Shards that each lane's client reads where they lie.
static void count_readers(const struct weir_router *router, const struct weir_lane_table *table, uint32_t *readers)
{
	const struct weir_lane *lane;
	struct weir_group_row row;

	for (uint32_t t = 0; t < router->topic_count; t++) {
		const struct weir_router_topic *topic = router->topics[t];

		for (uint32_t i = 0; i < topic->group_count * topic->spec.shards; i++) {
			const struct weir_group_row *at = topic->groups[i / topic->spec.shards]->rows[i % topic->spec.shards];

			if (weir_row_read(&row, at, sizeof(row)) == 0 && (lane = weir_lane_find(table, row.lane)) != NULL)
				readers[lane->slot]++;
		}
	}
}

static json_t *lanes_json(const struct weir_router *router)
{
	const struct weir_lane_table *table = weir_dataplane_lanes(router->dataplane);
	uint32_t room = table ? weir_lane_table_room(table) : 0;
	uint32_t *readers = calloc(room + 1u, sizeof(*readers));
	json_t *lanes = json_array();

	if (table && readers)
		count_readers(router, table, readers);
	for (uint32_t i = 0; readers && i < room; i++) {
		const struct weir_lane *lane = weir_lane_table_at(table, i);

		if (lane)
			json_array_append_new(lanes, lane_json(lane, readers[i]));
	}
	free(readers);
	return lanes;
}

static json_t *ports_json(const struct weir_router *router)
{
	json_t *ports = json_array();

	for (uint32_t i = 0; i < router->topology->port_count; i++)
		json_array_append_new(ports, port_json(router, i));
	return ports;
}

json_t *weir_answer_status(const struct weir_router *router, const json_t *arguments)
{
	uint64_t time_ns = lib_clock_ns();
	uint64_t sessions;
	json_t *warnings = warnings_of(router->plan);
	json_t *workers = workers_json(router, &sessions);
	json_t *topics = weir_answer_topics(router, arguments, warnings);

	weir_ports_warn(router, warnings);
	if (router->is_broken)
		json_array_append_new(warnings, json_string("an apply ended half-way: restart weir"));
	else if (router->unfinished)
		json_array_append_new(warnings, json_string("an apply waits for a worker that does not answer; it goes on when "
							    "the worker is back. Look for `stalled` in weir's log"));
	return json_pack("{s:s, s:s, s:i, s:o, s:I, s:f, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "instance",
			 router->topology->instance, "version", WEIR_VERSION_TEXT, "pid", (int)getpid(), "router",
			 weir_answer_id(router->id), "revision", (json_int_t)router->revision, "uptime_seconds",
			 (double)(time_ns - router->start_ns) / 1e9, "monotonic_ns", (json_int_t)time_ns, "poll",
			 router->topology->poll == WEIR_POLL_ALWAYS ? "always" : "adaptive", "sessions", (json_int_t)sessions,
			 "warnings", warnings, "workers", workers, "ports", ports_json(router), "lanes",
			 lanes_json(router), "topics", topics);
}
