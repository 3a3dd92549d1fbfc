// Drops one packet in so many, by a seeded dice: the lossy path of system tests. XDP sees what arrives at its interface,
// so a link that loses both ways has this program on both of its ends, or on both ports of a bridge in between.
#include <linux/bpf.h>
#include <stdint.h>

#include <bpf/bpf_helpers.h>

const volatile uint64_t seed = 1;
const volatile uint32_t per_million = 0;

// One interface each; read by the loader.
uint64_t seen[64];
uint64_t dropped[64];

// The n-th packet of an interface has the same fate in every run with the same seed (a 64-bit finalizer of n).
static __always_inline uint32_t dice(uint64_t n)
{
	uint64_t x = n + seed * 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	x ^= x >> 31;
	return (uint32_t)((x >> 32) * 1000000 >> 32);
}

SEC("xdp")
int weir_loss(struct xdp_md *ctx)
{
	uint32_t row = ctx->ingress_ifindex % 64;
	uint64_t n = __sync_fetch_and_add(&seen[row], 1);
	if (dice(n + ((uint64_t)row << 40)) >= per_million)
		return XDP_PASS;
	__sync_fetch_and_add(&dropped[row], 1);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
