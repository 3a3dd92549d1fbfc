// xdp-loss --interface NAME... --percent P [--seed N]: loses P percent of what arrives at the interfaces, until SIGINT or
// SIGTERM; then prints what it saw and dropped as JSON. The program goes with the process, also with kill -9. It prints
// "ready" when it is on every interface.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loss.skel.h"

#define INTERFACES_MAX 16
#define ROWS 64 // as in loss.bpf.c

struct options {
	const char *interfaces[INTERFACES_MAX];
	int count;
	double percent;
	uint64_t seed;
};

static int usage(const char *why)
{
	fprintf(stderr, "xdp-loss: %s\nusage: xdp-loss --interface NAME [--interface NAME...] --percent P [--seed N]\n", why);
	return 2;
}

static int options_read(struct options *options, int argc, char **argv)
{
	static const struct option LONG[] = {
		{ "interface", required_argument, NULL, 'i' },
		{ "percent", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 's' },
		{},
	};
	char *end = NULL;
	int c;
	options->percent = -1;
	options->seed = 1;
	while ((c = getopt_long(argc, argv, "i:p:s:", LONG, NULL)) != -1) {
		if (c == 'i' && options->count < INTERFACES_MAX)
			options->interfaces[options->count++] = optarg;
		else if (c == 'i')
			return usage("too many interfaces");
		else if (c == 'p')
			options->percent = strtod(optarg, &end);
		else if (c == 's')
			options->seed = strtoull(optarg, &end, 0);
		else
			return usage("unknown option");
		if (end && *end)
			return usage("not a number");
	}
	if (optind < argc || options->count == 0)
		return usage("which interface?");
	if (!(options->percent >= 0 && options->percent <= 100))
		return usage("--percent must be 0 to 100");
	return 0;
}

static int attach(const struct loss_bpf *bpf, const char *interface)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	unsigned ifindex = if_nametoindex(interface);
	if (ifindex == 0) {
		fprintf(stderr, "xdp-loss: %s: no such interface here\n", interface);
		return -ENODEV;
	}
	if (bpf_link_create(bpf_program__fd(bpf->progs.weir_loss), (int)ifindex, BPF_XDP, &options) >= 0)
		return 0;
	int code = -errno;
	fprintf(stderr, "xdp-loss: %s: cannot attach: %s\n", interface, strerror(-code));
	return code;
}

static void report(const struct options *options, const struct loss_bpf *bpf)
{
	printf("{");
	for (int i = 0; i < options->count; i++) {
		unsigned row = if_nametoindex(options->interfaces[i]) % ROWS;
		printf("%s\"%s\": {\"seen\": %llu, \"dropped\": %llu}", i ? ", " : "", options->interfaces[i],
		       (unsigned long long)bpf->bss->seen[row], (unsigned long long)bpf->bss->dropped[row]);
	}
	printf("}\n");
}

int main(int argc, char **argv)
{
	struct options options = {};
	if (options_read(&options, argc, argv))
		return 2;
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	struct loss_bpf *bpf = loss_bpf__open();
	if (!bpf) {
		fprintf(stderr, "xdp-loss: cannot open the program: %s\n", strerror(errno));
		return 1;
	}
	bpf->rodata->seed = options.seed;
	bpf->rodata->per_million = (uint32_t)(options.percent * 10000 + 0.5);
	int code = loss_bpf__load(bpf);
	if (code)
		fprintf(stderr, "xdp-loss: cannot load the program: %s\n", strerror(-code));
	for (int i = 0; code == 0 && i < options.count; i++)
		code = attach(bpf, options.interfaces[i]);
	if (code == 0) {
		int number;
		printf("ready\n");
		fflush(stdout);
		sigwait(&signals, &number);
		report(&options, bpf);
	}
	loss_bpf__destroy(bpf);
	return code ? 1 : 0;
}
