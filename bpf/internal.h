// What the files of the loader share: the guard itself, its place in bpffs, error texts. Not for use outside bpf/.
#ifndef WEIR_BPF_INTERNAL_H
#define WEIR_BPF_INTERNAL_H

#include <limits.h>
#include <net/if.h>
#include <stddef.h>

#include "bpf/guard.h"

#define INSTANCE_NAME_MAX 63

struct weir_guard_bpf; // the skeletons
struct weir_guard_tags_bpf;

// <root>/<instance>/<interface>, held open and locked.
struct weir_pins {
	int fd; // of the directory; its flock says that a process holds the guard
	char root[PATH_MAX];
	char instance[PATH_MAX];
	char path[PATH_MAX];
};

struct weir_guard {
	struct weir_guard_bpf *bpf;
	struct weir_guard_tags_bpf *tags; // the one that is attached where tags lie beside packets; NULL else
	struct weir_pins pins;
	struct weir_guard_switches switches;
	struct weir_guard_own own; // what the program was told last
	struct weir_guard_info info;
	struct weir_guard_config config; // its texts are the two below and `interface`
	char instance[INSTANCE_NAME_MAX + 1];
	char pin_root[PATH_MAX];
	char interface[IF_NAMESIZE];
	int ifindex;
	int link; // fd, -1: detached
	int tags_switched; // features that were switched off and will be on again, as weir_tags_keep() says
	int cpus; // possible ones: rows of a per-CPU map
	void *rows; // cpus rows of the larger counter
	uint64_t checked;        // frames of our own checks that the program counted
	uint64_t checked_bytes;
	uint64_t checked_passed;
	uint64_t checked_socketless;
};

// Formats the text and returns `code`. A NULL error is fine.
int weir_guard_fail(char error[WEIR_GUARD_ERROR_SIZE], int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

// ---- pins.c ----
// Makes and locks the directories. -ENOENT no bpffs, -EBUSY a living process has them.
int weir_pins_open(struct weir_pins *pins, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE]);
// Removes what is pinned there and the directories that are empty then, and lets go of the lock.
void weir_pins_close(struct weir_pins *pins);
// Path of a pin in the directory.
void weir_pins_path(const struct weir_pins *pins, const char *name, char path[PATH_MAX]);
// Pins the object in place of what was there. 0 or -errno.
int weir_pins_put(const struct weir_pins *pins, const char *name, int fd);
void weir_pins_remove(const struct weir_pins *pins, const char *name);
// The bpffs that would hold the pins: 0 or -ENOENT with the text.
int weir_pins_probe(const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE]);
// Looks for the instance whose pinned link holds program_id on ifindex; false: none of weir's under this root.
bool weir_pins_find(const struct weir_guard_config *config, int ifindex, uint32_t program_id, char instance[NAME_MAX + 1]);

// ---- vlan.c ----
// Where the interface leaves VLAN tags of received packets: INSIDE, TAKEN_OUT, or BESIDE for a veth.
enum weir_guard_tags weir_tags_look(const char *interface);
// Makes it leave them inside. *switched is for weir_tags_restore(). 0, or -errno with the text.
int weir_tags_keep(const char *interface, int *switched, char error[WEIR_GUARD_ERROR_SIZE]);
void weir_tags_restore(const char *interface, int switched);

// ---- host.c ----
int weir_config_check(const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE]);
// Index of the interface, or -ENODEV with the text.
int weir_interface_index(const char *interface, char error[WEIR_GUARD_ERROR_SIZE]);
// What XDP program is on the interface: its id (0: none) and mode. 0 or -errno with the text.
int weir_interface_program(const struct weir_guard *guard, uint32_t *id, enum weir_guard_mode *mode,
			   char error[WEIR_GUARD_ERROR_SIZE]);
// -EBUSY, with whose program that is.
int weir_foreign_refuse(const struct weir_guard_config *config, int ifindex, uint32_t id, char error[WEIR_GUARD_ERROR_SIZE]);
// Says why the kernel refused to load or to attach: `code` is its -errno, which is returned.
int weir_load_explain(int code, char error[WEIR_GUARD_ERROR_SIZE]);
int weir_attach_explain(const char *interface, int code, char error[WEIR_GUARD_ERROR_SIZE]);

#endif
