// The smallest consumer: a member of group "map", prints a thousand events and leaves. Start several: they share the
// shards, each vehicle stays with one of them, in order.
//   cc consumer.c -o consumer $(pkg-config --cflags --libs weir)
#include <stdio.h>
#include <string.h>

#include <weir.h>

int main(int count, char **arguments)
{
	struct weir *weir = NULL;
	struct weir_consumer *map = NULL;
	struct weir_view views[64];
	int error = weir_open(&weir, count > 1 ? arguments[1] : "udp://127.0.0.1:9347", NULL);
	if (!error)
		error = weir_consumer_open(&map, weir, "positions", "map", NULL);
	if (!error)
		error = weir_consumer_wait(map, 5000);
	for (int printed = 0; !error && printed < 1000;) {
		int received = weir_poll(weir, -1);
		error = received < 0 ? received : 0;
		// A call settles what the call before handed out. The one that hands out nothing settles the last of it.
		for (int n = 0; (n = weir_consume(map, views, 64)) > 0; printed += n) {
			for (int i = 0; i < n; i++)
				printf("%.*s\n", (int)views[i].payload_size, (const char *)views[i].payload);
		}
	}
	if (error)
		fprintf(stderr, "consumer: %s\n", strerror(-error));
	if (weir)
		weir_close(weir, 1000);
	return error ? 1 : 0;
}
