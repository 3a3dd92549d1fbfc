// Dumps of links and addresses over one netlink socket, and a second one that only hears that something changed: what changed
// is not believed from the message, because messages may be lost; everything is read anew. Control thread.
#include "dataplane/io/interfaces.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/guard.h"

#define ANSWER_SIZE 65536u // larger than any part of a dump
#define DUMPS_MAX 8u       // times that a dump is begun again because something changed in the middle of it

struct address {
	int index;
	int family;
	uint8_t bytes[16];
};

struct table {
	struct weir_interface *links;
	uint32_t link_count;
	struct address *addresses;
	uint32_t address_count;
};

struct weir_interfaces {
	struct table table;
	int news; // hears of changes
};

static void table_free(struct table *table)
{
	free(table->links);
	free(table->addresses);
	*table = (struct table){ 0 };
}

// One more element behind `count`; NULL without memory.
static void *grow(void **elements, uint32_t *count, size_t size)
{
	void *larger = realloc(*elements, (*count + 1u) * size);

	if (!larger)
		return NULL;
	*elements = larger;
	memset((uint8_t *)larger + *count * size, 0, size);
	return (uint8_t *)larger + (*count)++ * size;
}

// ---- What the kernel says ----

static int number_of(const struct rtattr *item)
{
	int number = 0;

	memcpy(&number, RTA_DATA(item), RTA_PAYLOAD(item) < sizeof(number) ? RTA_PAYLOAD(item) : sizeof(number));
	return number;
}

// A pair's end names the other end as what it stands on; these really do.
static bool stands_on_another(const struct rtattr *nest)
{
	int left = (int)RTA_PAYLOAD(nest);

	for (const struct rtattr *item = RTA_DATA(nest); RTA_OK(item, left); item = RTA_NEXT(item, left)) {
		const char *kind = RTA_DATA(item);

		if (item->rta_type == IFLA_INFO_KIND)
			return strcmp(kind, "vlan") == 0 || strcmp(kind, "macvlan") == 0 || strcmp(kind, "ipvlan") == 0;
	}
	return false;
}

static int take_link(struct table *table, const struct nlmsghdr *message)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	int left = (int)IFLA_PAYLOAD(message);
	struct weir_interface *link = grow((void **)&table->links, &table->link_count, sizeof(*link));
	bool is_upon = false, is_elsewhere = false;

	if (!link)
		return -ENOMEM;
	link->index = info->ifi_index;
	link->is_up = info->ifi_flags & IFF_UP;
	link->is_running = link->is_up && info->ifi_flags & IFF_RUNNING;
	for (const struct rtattr *item = IFLA_RTA(info); RTA_OK(item, left); item = RTA_NEXT(item, left)) {
		size_t size = RTA_PAYLOAD(item);

		if (item->rta_type == IFLA_IFNAME)
			memcpy(link->name, RTA_DATA(item), size < sizeof(link->name) ? size : sizeof(link->name) - 1);
		else if (item->rta_type == IFLA_ADDRESS && size == sizeof(link->mac))
			memcpy(link->mac, RTA_DATA(item), sizeof(link->mac));
		else if (item->rta_type == IFLA_MTU)
			link->mtu = (uint32_t)number_of(item);
		else if (item->rta_type == IFLA_MASTER)
			link->master = number_of(item);
		else if (item->rta_type == IFLA_LINK)
			link->lower = number_of(item);
		else if (item->rta_type == IFLA_LINK_NETNSID)
			is_elsewhere = true;
		else if ((item->rta_type & NLA_TYPE_MASK) == IFLA_LINKINFO)
			is_upon = stands_on_another(item);
	}
	if (!is_upon || is_elsewhere)
		link->lower = 0;
	return 0;
}

// IFA_LOCAL is ours where a peer's address is named too.
static int take_address(struct table *table, const struct nlmsghdr *message)
{
	const struct ifaddrmsg *info = NLMSG_DATA(message);
	int left = (int)IFA_PAYLOAD(message);
	size_t size = info->ifa_family == AF_INET ? 4 : 16;
	struct address *address;
	bool has_local = false;

	if ((info->ifa_family != AF_INET && info->ifa_family != AF_INET6) || info->ifa_flags & IFA_F_DADFAILED)
		return 0;
	address = grow((void **)&table->addresses, &table->address_count, sizeof(*address));
	if (!address)
		return -ENOMEM;
	address->index = (int)info->ifa_index;
	address->family = info->ifa_family;
	for (const struct rtattr *item = IFA_RTA(info); RTA_OK(item, left); item = RTA_NEXT(item, left)) {
		if (RTA_PAYLOAD(item) != size || (item->rta_type != IFA_LOCAL && (item->rta_type != IFA_ADDRESS || has_local)))
			continue;
		memcpy(address->bytes, RTA_DATA(item), size);
		has_local = item->rta_type == IFA_LOCAL;
	}
	return 0;
}

// ---- Dumps ----

// 1: there is more to come, 0: that was all, -EAGAIN: something changed meanwhile, else -errno.
static int take_answer(struct table *table, const uint8_t *bytes, size_t size)
{
	const struct nlmsghdr *message = (const void *)bytes;
	bool is_torn = false;
	int error = 0;

	for (; NLMSG_OK(message, size) && !error; message = NLMSG_NEXT(message, size)) {
		is_torn |= message->nlmsg_flags & NLM_F_DUMP_INTR;
		if (message->nlmsg_type == NLMSG_DONE)
			return is_torn ? -EAGAIN : 0;
		if (message->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(message))->error ?: -EIO;
		if (message->nlmsg_type == RTM_NEWLINK)
			error = take_link(table, message);
		else if (message->nlmsg_type == RTM_NEWADDR)
			error = take_address(table, message);
	}
	return error ? error : is_torn ? -EAGAIN : 1;
}

static int dump(struct table *table, int fd, uint16_t type, uint8_t *answer)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info; // as large as an ifaddrmsg at least
		struct rtattr mask;
		uint32_t bits;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.mask = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = IFLA_EXT_MASK },
		.bits = RTEXT_FILTER_SKIP_STATS,
	};
	int state = 1;

	if (type == RTM_GETADDR)
		request.header.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg));
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
		return -errno;
	while (state == 1) {
		ssize_t size = recv(fd, answer, ANSWER_SIZE, 0);

		if (size < 0 && errno == EINTR)
			continue;
		state = size < 0 ? -errno : take_answer(table, answer, (size_t)size);
	}
	return state;
}

static int table_read(struct table *table)
{
	uint8_t *answer = malloc(ANSWER_SIZE);
	int error = answer ? -EAGAIN : -ENOMEM;

	for (uint32_t i = 0; i < DUMPS_MAX && error == -EAGAIN; i++) {
		// A socket for each try: what is left of a torn dump goes with it.
		int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

		table_free(table);
		error = fd < 0 ? -errno : dump(table, fd, RTM_GETLINK, answer);
		if (!error)
			error = dump(table, fd, RTM_GETADDR, answer);
		if (fd >= 0)
			close(fd);
	}
	free(answer);
	if (error)
		table_free(table);
	return error;
}

// ---- Life ----

int weir_interfaces_create(struct weir_interfaces **out)
{
	struct sockaddr_nl groups = { .nl_family = AF_NETLINK,
				      .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	struct weir_interfaces *interfaces = calloc(1, sizeof(*interfaces));
	int error = 0;

	if (!interfaces)
		return -ENOMEM;
	interfaces->news = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	// Heard from before it is read, so that nothing is missed in between.
	if (interfaces->news < 0 || bind(interfaces->news, (struct sockaddr *)&groups, sizeof(groups)) < 0)
		error = -errno;
	if (!error)
		error = table_read(&interfaces->table);
	if (error) {
		weir_interfaces_destroy(interfaces);
		return error;
	}
	*out = interfaces;
	return 0;
}

void weir_interfaces_destroy(struct weir_interfaces *interfaces)
{
	if (!interfaces)
		return;
	if (interfaces->news >= 0)
		close(interfaces->news);
	table_free(&interfaces->table);
	free(interfaces);
}

bool weir_interfaces_refresh(struct weir_interfaces *interfaces)
{
	struct table fresh = { 0 };
	bool is_news = false;
	uint8_t message[64];

	// Too many to keep (ENOBUFS) are news too.
	while (recv(interfaces->news, message, sizeof(message), MSG_TRUNC) >= 0 || errno == ENOBUFS)
		is_news = true;
	if (!is_news || table_read(&fresh) != 0)
		return false;
	table_free(&interfaces->table);
	interfaces->table = fresh;
	return true;
}

// ---- Questions ----

const struct weir_interface *weir_interfaces_named(const struct weir_interfaces *interfaces, const char *name)
{
	for (uint32_t i = 0; i < interfaces->table.link_count; i++)
		if (strcmp(interfaces->table.links[i].name, name) == 0)
			return &interfaces->table.links[i];
	return NULL;
}

const struct weir_interface *weir_interfaces_numbered(const struct weir_interfaces *interfaces, int index)
{
	for (uint32_t i = 0; i < interfaces->table.link_count; i++)
		if (interfaces->table.links[i].index == index)
			return &interfaces->table.links[i];
	return NULL;
}

const struct weir_interface *weir_interfaces_of_address(const struct weir_interfaces *interfaces, int family,
							const uint8_t *bytes)
{
	for (uint32_t i = 0; i < interfaces->table.address_count; i++) {
		const struct address *address = &interfaces->table.addresses[i];

		if (address->family == family && memcmp(address->bytes, bytes, family == AF_INET ? 4 : 16) == 0)
			return weir_interfaces_numbered(interfaces, address->index);
	}
	return NULL;
}

bool weir_interfaces_any_running(const struct weir_interfaces *interfaces)
{
	for (uint32_t i = 0; i < interfaces->table.link_count; i++)
		if (interfaces->table.links[i].is_running)
			return true;
	return false;
}

static uint32_t add_mac(struct weir_guard_own *own, const uint8_t mac[6])
{
	for (uint32_t i = 0; i < own->mac_count; i++)
		if (memcmp(own->macs[i], mac, 6) == 0)
			return 0;
	if (own->mac_count == WEIR_GUARD_MACS)
		return 1;
	memcpy(own->macs[own->mac_count++], mac, 6);
	return 0;
}

static uint32_t add_address(struct weir_guard_own *own, const struct address *address)
{
	uint32_t *count = address->family == AF_INET ? &own->address4_count : &own->address6_count;

	if (*count == WEIR_GUARD_ADDRESSES)
		return 1;
	if (address->family == AF_INET)
		memcpy(&own->addresses4[(*count)++], address->bytes, 4);
	else
		memcpy(own->addresses6[(*count)++], address->bytes, 16);
	return 0;
}

// Marks the link and what is above it, above that, and so on.
static void mark_upper(const struct table *table, bool *is_ours, int index)
{
	bool has_more = true;

	for (uint32_t i = 0; i < table->link_count; i++)
		is_ours[i] = table->links[i].index == index;
	while (has_more) {
		has_more = false;
		for (uint32_t i = 0; i < table->link_count; i++) {
			const struct weir_interface *below = &table->links[i];

			for (uint32_t k = 0; is_ours[i] && k < table->link_count; k++) {
				const struct weir_interface *above = &table->links[k];

				if (is_ours[k] || (above->lower != below->index && above->index != below->master))
					continue;
				is_ours[k] = has_more = true;
			}
		}
	}
}

uint32_t weir_interfaces_own(const struct weir_interfaces *interfaces, int index, struct weir_guard_own *own)
{
	const struct table *table = &interfaces->table;
	bool *is_ours = calloc(table->link_count + 1u, sizeof(*is_ours));
	uint32_t left_out = 0;

	memset(own, 0, sizeof(*own));
	if (!is_ours)
		return 1;
	mark_upper(table, is_ours, index);
	for (uint32_t i = 0; i < table->link_count; i++) {
		if (!is_ours[i])
			continue;
		left_out += add_mac(own, table->links[i].mac);
		for (uint32_t k = 0; k < table->address_count; k++)
			if (table->addresses[k].index == table->links[i].index)
				left_out += add_address(own, &table->addresses[k]);
	}
	free(is_ours);
	return left_out;
}
