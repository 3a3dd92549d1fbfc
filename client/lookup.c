// See lookup.h. The look-up belongs to its thread and to the client at once; who lets go last frees it, so that a client
// never waits for a name server that does not answer.
#include "client/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "wire/limits.h"

struct weir_lookup {
	struct weir_host host;
	int event_fd;
	atomic_int owners;
	atomic_bool is_done; // release: what follows is filled
	int count;           // or -errno
	struct weir_endpoint endpoints[WEIR_ENDPOINTS_MAX];
};

int weir_host_parse(struct weir_host *host, const char *text)
{
	const char *end = strrchr(text, ':');
	snprintf(host->port, sizeof(host->port), "%u", WEIR_PORT_BASE);
	if (*text == '[') {
		const char *bracket = strchr(text, ']');
		if (!bracket || bracket - text < 2 || (bracket[1] && bracket[1] != ':'))
			return -EINVAL;
		end = bracket[1] ? bracket + 1 : NULL;
		if ((size_t)(bracket - text) >= sizeof(host->name))
			return -EINVAL;
		snprintf(host->name, sizeof(host->name), "%.*s", (int)(bracket - text - 1), text + 1);
	} else {
		size_t size = end ? (size_t)(end - text) : strlen(text);
		if (size == 0 || size >= sizeof(host->name) || (end && memchr(text, ':', size)))
			return -EINVAL;
		snprintf(host->name, sizeof(host->name), "%.*s", (int)size, text);
	}
	if (!end)
		return 0;
	char *rest = NULL;
	unsigned long number = strtoul(end + 1, &rest, 10);
	if (end[1] < '0' || end[1] > '9' || *rest || number == 0 || number > UINT16_MAX)
		return -EINVAL;
	snprintf(host->port, sizeof(host->port), "%lu", number);
	return 0;
}

static void endpoint_set(struct weir_endpoint *endpoint, const struct addrinfo *found)
{
	memset(endpoint, 0, sizeof(*endpoint));
	memcpy(&endpoint->address, found->ai_addr, found->ai_addrlen);
	endpoint->size = found->ai_addrlen;
}

uint32_t weir_host_endpoint(const struct weir_host *host, struct weir_endpoint *endpoint)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	if (getaddrinfo(host->name, host->port, &hints, &found))
		return 0;
	endpoint_set(endpoint, found);
	freeaddrinfo(found);
	return 1;
}

bool weir_endpoint_is_same(const struct weir_endpoint *a, const struct weir_endpoint *b)
{
	return a->size == b->size && memcmp(&a->address, &b->address, a->size) == 0;
}

// ---- The look-up's thread ----

static const struct addrinfo *family_next(const struct addrinfo *at, int family)
{
	while (at && at->ai_family != family)
		at = at->ai_next;
	return at;
}

static void found_take(struct weir_lookup *lookup, const struct addrinfo *found)
{
	const struct addrinfo *four = family_next(found, AF_INET);
	const struct addrinfo *six = family_next(found, AF_INET6);
	uint32_t count = 0;
	while ((four || six) && count < WEIR_ENDPOINTS_MAX) {
		if (four) {
			endpoint_set(&lookup->endpoints[count++], four);
			four = family_next(four->ai_next, AF_INET);
		}
		if (six && count < WEIR_ENDPOINTS_MAX) {
			endpoint_set(&lookup->endpoints[count++], six);
			six = family_next(six->ai_next, AF_INET6);
		}
	}
	lookup->count = count ? (int)count : -ENXIO;
}

static void *run(void *of)
{
	struct weir_lookup *lookup = of;
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	int error = getaddrinfo(lookup->host.name, lookup->host.port, &hints, &found);
	if (error) {
		lookup->count = error == EAI_NONAME || error == EAI_NODATA || error == EAI_ADDRFAMILY ? -ENXIO : -EBUSY;
	} else {
		found_take(lookup, found);
		freeaddrinfo(found);
	}
	atomic_store_explicit(&lookup->is_done, true, memory_order_release);
	eventfd_write(lookup->event_fd, 1);
	weir_lookup_drop(lookup);
	return NULL;
}

// ---- The client's thread ----

// Signals are the application's: none is handled here.
static int thread_start(struct weir_lookup *lookup)
{
	sigset_t all;
	sigset_t before;
	pthread_t thread;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&thread, NULL, run, lookup);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_detach(thread);
	return -error;
}

int weir_lookup_start(struct weir_lookup **lookup, const struct weir_host *host)
{
	struct weir_lookup *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->host = *host;
	atomic_init(&made->owners, 2);
	made->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int error = made->event_fd < 0 ? -errno : thread_start(made);
	if (error) {
		if (made->event_fd >= 0)
			close(made->event_fd);
		free(made);
		return error;
	}
	*lookup = made;
	return 0;
}

int weir_lookup_fd(const struct weir_lookup *lookup)
{
	return lookup->event_fd;
}

int weir_lookup_take(struct weir_lookup *lookup, struct weir_endpoint endpoints[WEIR_ENDPOINTS_MAX])
{
	if (!atomic_load_explicit(&lookup->is_done, memory_order_acquire))
		return -EAGAIN;
	int count = lookup->count;
	memcpy(endpoints, lookup->endpoints, sizeof(lookup->endpoints));
	weir_lookup_drop(lookup);
	return count;
}

void weir_lookup_drop(struct weir_lookup *lookup)
{
	if (!lookup || atomic_fetch_sub(&lookup->owners, 1) > 1)
		return;
	close(lookup->event_fd);
	free(lookup);
}
