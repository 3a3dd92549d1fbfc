// Ports as operators meet them. Between the dataplane, which knows how its ports fare, and the log and `weirctl status`, which
// tell. Control thread.
#include "control/daemon/ports.h"

#include <stdio.h>
#include <string.h>

#include "bpf/guard.h"
#include "control/daemon/say.h"

void weir_ports_sweep(struct weir_router *router)
{
	const struct weir_topology *topology = router->topology;
	const char *keep[WEIR_TOPOLOGY_PORTS_MAX];
	char text[WEIR_GUARD_ERROR_SIZE];
	uint32_t count = 0;
	int err;

	for (uint32_t i = 0; i < topology->port_count; i++) {
		if (topology->ports[i].kind == WEIR_TOPOLOGY_PORT_AFXDP)
			keep[count++] = topology->ports[i].interface;
	}
	err = weir_guard_sweep(topology->instance, NULL, keep, count, text);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		weir_say(err ? WEIR_SAY_WARNING : WEIR_SAY_INFO, "%s", line);
		if (err && !router->leftover[0])
			snprintf(router->leftover, sizeof(router->leftover), "%s", line);
	}
}

// What a line says is what was told of the port last: the same thing is not said again.
static void say_change(struct weir_router_port *said, const struct weir_port_state *state, const char *name, uint64_t now_ns)
{
	const struct weir_fault *fault = &state->fault;
	bool is_same = said->condition == state->condition &&
		       (state->condition == WEIR_PORT_WELL || strcmp(said->reason, fault->reason) == 0);

	if (is_same)
		return;
	if (state->condition == WEIR_PORT_WELL)
		weir_say(WEIR_SAY_INFO, "port %s: works again after %.0f s", name, (double)(now_ns - said->since_ns) / 1e9);
	else
		weir_say(WEIR_SAY_WARNING, "%s: cannot %s: %s. Fix: %s", fault->object, fault->action, fault->reason,
			 fault->fix);
	if (said->condition == WEIR_PORT_WELL)
		said->since_ns = now_ns;
	said->condition = state->condition;
	snprintf(said->reason, sizeof(said->reason), "%s", fault->reason);
}

void weir_ports_watch(struct weir_router *router, uint64_t now_ns)
{
	weir_dataplane_watch(router->dataplane, now_ns);
	for (uint32_t i = 0; i < router->topology->port_count; i++)
		say_change(&router->ports[i], weir_dataplane_port_state(router->dataplane, i), router->topology->ports[i].name,
			   now_ns);
}

static double seconds_since(const struct weir_router *router, const struct weir_port_state *state)
{
	return state->since_ns && router->sample_ns > state->since_ns ? (double)(router->sample_ns - state->since_ns) / 1e9 : 0;
}

void weir_ports_warn(const struct weir_router *router, json_t *warnings)
{
	if (router->leftover[0])
		json_array_append_new(warnings, json_string(router->leftover));
	for (uint32_t i = 0; i < router->topology->port_count; i++) {
		const struct weir_port_state *state = weir_dataplane_port_state(router->dataplane, i);
		const struct weir_fault *fault = &state->fault;

		if (state->condition != WEIR_PORT_WELL)
			json_array_append_new(warnings, json_sprintf("%s: cannot %s for %.0f s: %s. Fix: %s", fault->object,
								     fault->action, seconds_since(router, state), fault->reason,
								     fault->fix));
	}
}

void weir_ports_describe(const struct weir_router *router, uint32_t port, json_t *json)
{
	const struct weir_port_state *state = weir_dataplane_port_state(router->dataplane, port);
	json_t *trouble = json_null();

	if (state->condition != WEIR_PORT_WELL)
		trouble = json_pack("{s:s, s:s, s:s}", "action", state->fault.action, "reason", state->fault.reason, "fix",
				    state->fault.fix);
	json_object_set_new(json, "state", json_string(weir_port_condition_name(state->condition)));
	json_object_set_new(json, "trouble", trouble);
	json_object_set_new(json, "since_seconds", json_real(seconds_since(router, state)));
	json_object_set_new(json, "losses", json_integer((json_int_t)state->losses));
}
