// Life cycle of the guard: load the program with this instance's switches, attach it by a pinned link or take the link
// of a killed predecessor over, and detach without a trace. The link, not the program, is the property: updating it swaps
// the program between two packets. Control thread.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/internal.h"
#include "guard.skel.h"
#include "guard_tags.skel.h"

#ifndef BPF_F_XDP_DEV_BOUND_ONLY
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6)
#endif

// libbpf's warnings go to stderr by default; what they say is in our error texts.
static int print_nothing(enum libbpf_print_level level, const char *format, va_list list)
{
	return 0;
}

static void switches_set(struct weir_guard_switches *switches, const struct weir_guard_config *config)
{
	*switches = (struct weir_guard_switches){
		.port_base = config->port_base,
		.workers = config->workers,
		.is_link_trusted = config->is_link_trusted,
		.topic_rows = config->topic_rows ? config->topic_rows : WEIR_GUARD_TOPICS,
	};
}

// libxdp recognises the program by what BTF says of it.
static int btf_require(int program, char error[WEIR_GUARD_ERROR_SIZE])
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	if (bpf_obj_get_info_by_fd(program, &info, &size) == 0 && info.btf_id)
		return 0;
	return weir_guard_fail(
		error, -EOPNOTSUPP,
		"kernel: keeps no BTF of programs, by which AF_XDP sockets find the XDP program. Needs 5.10 or newer; "
		"else use port kind kernel");
}

static int load(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	libbpf_print_fn_t print = libbpf_set_print(print_nothing);
	int code = 0;
	guard->bpf = weir_guard_bpf__open();
	if (!guard->bpf) {
		code = weir_load_explain(-errno, error);
		goto out;
	}
	// The skeleton's structs have the layout of the definitions: both come from bpf/abi.h.
	_Static_assert(sizeof(guard->bpf->rodata->switches) == sizeof(guard->switches), "switches layout");
	_Static_assert(sizeof(guard->bpf->bss->sets) == sizeof(struct weir_guard_sets), "sets layout");
	memcpy(&guard->bpf->rodata->switches, &guard->switches, sizeof(guard->switches));
	memcpy(&guard->bpf->bss->sets.own[0], &guard->own, sizeof(guard->own));
	code = bpf_map__set_max_entries(guard->bpf->maps.topics, guard->switches.topic_rows);
	if (code == 0)
		code = weir_guard_bpf__load(guard->bpf);
	if (code)
		code = weir_load_explain(code, error);
	else
		code = btf_require(weir_guard_trial(guard), error);
	if (code) {
		weir_guard_bpf__destroy(guard->bpf);
		guard->bpf = NULL;
	}
out:
	libbpf_set_print(print);
	return code;
}

static int maps_share(struct weir_guard_tags_bpf *tags, const struct weir_guard_bpf *bpf)
{
	const struct {
		struct bpf_map *to;
		const struct bpf_map *from;
	} maps[] = {
		{ tags->maps.totals, bpf->maps.totals },
		{ tags->maps.topics, bpf->maps.topics },
		{ tags->maps.xsks_map, bpf->maps.xsks_map },
		{ tags->maps.bss, bpf->maps.bss },
	};
	int code = 0;
	for (size_t i = 0; code == 0 && i < sizeof(maps) / sizeof(*maps); i++)
		code = bpf_map__reuse_fd(maps[i].to, bpf_map__fd(maps[i].from));
	return code;
}

// The program for this very interface that asks its driver for tags. 0 or -errno: the kernel or the driver does not tell.
static int load_tags(struct weir_guard *guard)
{
	libbpf_print_fn_t print = libbpf_set_print(print_nothing);
	struct weir_guard_tags_bpf *tags = weir_guard_tags_bpf__open();
	int code = tags ? 0 : -errno;
	if (code == 0) {
		struct bpf_program *program = tags->progs.xsk_def_prog;
		memcpy(&tags->rodata->switches, &guard->switches, sizeof(guard->switches));
		bpf_program__set_ifindex(program, (uint32_t)guard->ifindex);
		code = bpf_program__set_flags(program, bpf_program__flags(program) | BPF_F_XDP_DEV_BOUND_ONLY);
	}
	if (code == 0)
		code = maps_share(tags, guard->bpf);
	if (code == 0)
		code = weir_guard_tags_bpf__load(tags);
	if (code)
		weir_guard_tags_bpf__destroy(tags);
	else
		guard->tags = tags;
	libbpf_set_print(print);
	return code;
}

static void unload_tags(struct weir_guard *guard)
{
	weir_guard_tags_bpf__destroy(guard->tags);
	guard->tags = NULL;
}

// The link that a killed process of this instance left pinned; -1: none. *is_attached says whether it holds program_id,
// the one on our interface now.
static int predecessor_find(const struct weir_guard *guard, uint32_t program_id, bool *is_attached)
{
	char path[PATH_MAX];
	weir_pins_path(&guard->pins, "link", path);
	int link = bpf_obj_get(path);
	struct bpf_link_info info = {};
	uint32_t size = sizeof(info);
	if (link < 0)
		return -1;
	if (bpf_obj_get_info_by_fd(link, &info, &size) != 0) {
		close(link);
		return -1;
	}
	*is_attached = program_id && info.type == BPF_LINK_TYPE_XDP && (int)info.xdp.ifindex == guard->ifindex &&
		       info.prog_id == program_id;
	return link;
}

static int link_create(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	const struct weir_guard_config *config = &guard->config;
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	guard->info.mode = WEIR_GUARD_NATIVE;
	guard->link = bpf_link_create(weir_guard_program(guard), guard->ifindex, BPF_XDP, &options);
	if (guard->link < 0 && config->is_generic_allowed && errno != EPERM && errno != EBUSY) {
		// A program that asks the driver is none for above it.
		unload_tags(guard);
		options.flags = XDP_FLAGS_SKB_MODE;
		guard->info.mode = WEIR_GUARD_GENERIC;
		guard->link = bpf_link_create(weir_guard_program(guard), guard->ifindex, BPF_XDP, &options);
	}
	if (guard->link >= 0)
		return 0;
	int code = -errno;
	uint32_t id = 0;
	enum weir_guard_mode mode;
	// Somebody was quicker between our look and our attach.
	if ((code == -EBUSY || code == -EEXIST) && weir_interface_program(guard, &id, &mode, error) == 0 && id)
		return weir_foreign_refuse(config, guard->ifindex, id, error);
	return weir_attach_explain(guard->interface, code, error);
}

static int attach(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	uint32_t id = 0;
	enum weir_guard_mode mode = WEIR_GUARD_NATIVE;
	int code = weir_interface_program(guard, &id, &mode, error);
	if (code)
		return code;
	bool is_ours = false;
	int link = predecessor_find(guard, id, &is_ours);
	if (id && !is_ours) {
		if (link >= 0)
			close(link);
		return weir_foreign_refuse(&guard->config, guard->ifindex, id, error);
	}
	if (is_ours && mode == WEIR_GUARD_NATIVE && bpf_link_update(link, weir_guard_program(guard), NULL) == 0) {
		guard->link = link;
		guard->info.mode = mode;
		guard->info.has_taken_over = true;
		return 0;
	}
	// Its interface is gone, or it was in generic mode, which is not to be inherited.
	if (link >= 0) {
		bpf_link_detach(link);
		close(link);
		weir_pins_remove(&guard->pins, "link");
	}
	return link_create(guard, error);
}

static int pin(const struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	int code = weir_pins_put(&guard->pins, "link", guard->link);
	if (code == 0)
		code = weir_pins_put(&guard->pins, "totals", bpf_map__fd(guard->bpf->maps.totals));
	if (code == 0)
		code = weir_pins_put(&guard->pins, "topics", bpf_map__fd(guard->bpf->maps.topics));
	if (code)
		weir_guard_fail(error, code, "%s: cannot pin the XDP program: %s", guard->pins.path, strerror(-code));
	return code;
}

static int rows_allocate(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	guard->cpus = libbpf_num_possible_cpus();
	if (guard->cpus <= 0)
		return weir_guard_fail(error, guard->cpus, "kernel: cannot tell the number of CPUs: %s",
				       strerror(-guard->cpus));
	guard->rows = calloc((size_t)guard->cpus, sizeof(struct weir_guard_totals));
	return guard->rows ? 0 : weir_guard_fail(error, -ENOMEM, "XDP guard: no memory");
}

static void config_keep(struct weir_guard *guard, const struct weir_guard_config *config)
{
	snprintf(guard->interface, sizeof(guard->interface), "%s", config->interface);
	snprintf(guard->instance, sizeof(guard->instance), "%s", config->instance);
	snprintf(guard->pin_root, sizeof(guard->pin_root), "%s", config->pin_root ? config->pin_root : "");
	guard->config = *config;
	guard->config.interface = guard->interface;
	guard->config.instance = guard->instance;
	guard->config.pin_root = guard->pin_root;
	guard->own = config->own;
	switches_set(&guard->switches, config);
}

static void link_close(struct weir_guard *guard)
{
	if (guard->link >= 0) {
		// Detached at once, whoever else may hold the link open; after this the kernel has no name for it.
		bpf_link_detach(guard->link);
		close(guard->link);
		guard->link = -1;
	}
	unload_tags(guard);
	weir_tags_restore(guard->interface, guard->tags_switched);
	guard->tags_switched = 0;
}

// The loaded program onto the interface, and its names.
static int put_on(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	guard->info.tags = weir_tags_look(guard->interface);
	if (guard->info.tags == WEIR_GUARD_TAGS_BESIDE)
		load_tags(guard); // not with every kernel
	int code = attach(guard, error);
	if (guard->info.tags == WEIR_GUARD_TAGS_BESIDE && !guard->tags)
		guard->info.tags = WEIR_GUARD_TAGS_HIDDEN;
	if (code == 0 && guard->info.tags == WEIR_GUARD_TAGS_TAKEN_OUT) {
		code = weir_tags_keep(guard->interface, &guard->tags_switched, error);
		guard->info.tags = WEIR_GUARD_TAGS_KEPT;
	}
	if (code == 0)
		code = pin(guard, error);
	if (code) {
		link_close(guard);
		return code;
	}
	bpf_obj_get_info_by_fd(weir_guard_program(guard), &info, &size);
	guard->info.program_id = info.id;
	return 0;
}

int weir_guard_open(struct weir_guard **guard_out, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	int code = weir_config_check(config, error);
	if (code)
		return code;
	struct weir_guard *guard = calloc(1, sizeof(*guard));
	if (!guard)
		return weir_guard_fail(error, -ENOMEM, "XDP guard: no memory");
	guard->link = -1;
	guard->ifindex = weir_interface_index(config->interface, error);
	if (guard->ifindex < 0) {
		code = guard->ifindex;
		goto err_guard;
	}
	config_keep(guard, config);
	code = rows_allocate(guard, error);
	if (code)
		goto err_guard;
	code = load(guard, error);
	if (code)
		goto err_rows;
	code = weir_pins_open(&guard->pins, config, error);
	if (code)
		goto err_bpf;
	code = put_on(guard, error);
	if (code)
		goto err_pins;
	*guard_out = guard;
	return 0;

err_pins:
	weir_pins_close(&guard->pins);
err_bpf:
	weir_guard_bpf__destroy(guard->bpf);
err_rows:
	free(guard->rows);
err_guard:
	free(guard);
	return code;
}

void weir_guard_detach(struct weir_guard *guard)
{
	link_close(guard);
	weir_pins_remove(&guard->pins, "link");
}

int weir_guard_attach(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	int ifindex = weir_interface_index(guard->interface, error);
	if (ifindex < 0)
		return ifindex;
	guard->ifindex = ifindex;
	guard->info.has_taken_over = false;
	return put_on(guard, error);
}

void weir_guard_close(struct weir_guard *guard)
{
	if (!guard)
		return;
	link_close(guard);
	weir_pins_close(&guard->pins);
	weir_guard_bpf__destroy(guard->bpf);
	free(guard->rows);
	free(guard);
}

void weir_guard_set_own(struct weir_guard *guard, const struct weir_guard_own *own)
{
	struct weir_guard_sets *sets = (void *)&guard->bpf->bss->sets;
	uint32_t other = !__atomic_load_n(&sets->used, __ATOMIC_RELAXED);
	guard->own = *own;
	memcpy(&sets->own[other], own, sizeof(*own));
	__atomic_store_n(&sets->used, other, __ATOMIC_RELEASE);
}

void weir_guard_describe(const struct weir_guard *guard, struct weir_guard_info *info)
{
	*info = guard->info;
}

int weir_guard_socket_map(const struct weir_guard *guard)
{
	return bpf_map__fd(guard->bpf->maps.xsks_map);
}

int weir_guard_program(const struct weir_guard *guard)
{
	return bpf_program__fd(guard->tags ? guard->tags->progs.xsk_def_prog : guard->bpf->progs.xsk_def_prog);
}

int weir_guard_trial(const struct weir_guard *guard)
{
	return bpf_program__fd(guard->bpf->progs.xsk_def_prog);
}
