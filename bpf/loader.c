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
		.is_filtered = config->has_address4 || config->has_address6,
		.has_address4 = config->has_address4,
		.has_address6 = config->has_address6,
		.topic_rows = config->topic_rows ? config->topic_rows : WEIR_GUARD_TOPICS,
	};
	memcpy(&switches->address4, config->address4, sizeof(switches->address4));
	memcpy(switches->address6, config->address6, sizeof(switches->address6));
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
	// The skeleton's struct has the layout of the definition: both come from bpf/abi.h.
	_Static_assert(sizeof(guard->bpf->rodata->switches) == sizeof(guard->switches), "switches layout");
	memcpy(&guard->bpf->rodata->switches, &guard->switches, sizeof(guard->switches));
	code = bpf_map__set_max_entries(guard->bpf->maps.topics, guard->switches.topic_rows);
	if (code == 0)
		code = weir_guard_bpf__load(guard->bpf);
	if (code)
		code = weir_load_explain(code, error);
	else
		code = btf_require(weir_guard_program(guard), error);
	if (code) {
		weir_guard_bpf__destroy(guard->bpf);
		guard->bpf = NULL;
	}
out:
	libbpf_set_print(print);
	return code;
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

static int link_create(struct weir_guard *guard, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	guard->info.mode = WEIR_GUARD_NATIVE;
	guard->link = bpf_link_create(weir_guard_program(guard), guard->ifindex, BPF_XDP, &options);
	if (guard->link < 0 && config->is_generic_allowed && errno != EPERM && errno != EBUSY) {
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

static int attach(struct weir_guard *guard, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
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
		return weir_foreign_refuse(config, guard->ifindex, id, error);
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
	return link_create(guard, config, error);
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
	snprintf(guard->interface, sizeof(guard->interface), "%s", config->interface);
	switches_set(&guard->switches, config);
	code = rows_allocate(guard, error);
	if (code)
		goto err_guard;
	code = load(guard, error);
	if (code)
		goto err_rows;
	code = weir_pins_open(&guard->pins, config, error);
	if (code)
		goto err_bpf;
	code = attach(guard, config, error);
	if (code)
		goto err_pins;
	code = pin(guard, error);
	if (code)
		goto err_link;
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	bpf_obj_get_info_by_fd(weir_guard_program(guard), &info, &size);
	guard->info.program_id = info.id;
	*guard_out = guard;
	return 0;

err_link:
	bpf_link_detach(guard->link);
	close(guard->link);
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

void weir_guard_close(struct weir_guard *guard)
{
	if (!guard)
		return;
	// Detached at once, whoever else may hold the link open; after this the kernel has no name for it.
	bpf_link_detach(guard->link);
	close(guard->link);
	weir_pins_close(&guard->pins);
	weir_guard_bpf__destroy(guard->bpf);
	free(guard->rows);
	free(guard);
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
	return bpf_program__fd(guard->bpf->progs.xsk_def_prog);
}
