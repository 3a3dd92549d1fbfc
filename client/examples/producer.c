// The smallest producer: publishes positions of a few vehicles, each vehicle's in order.
//   cc producer.c -o producer $(pkg-config --cflags --libs weir)
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weir.h>

int main(int count, char **arguments)
{
	struct weir *weir = NULL;
	struct weir_producer *positions = NULL;
	int error = weir_open(&weir, count > 1 ? arguments[1] : "udp://127.0.0.1:9347", NULL);
	if (!error)
		error = weir_producer_open(&positions, weir, "positions", NULL);
	if (!error)
		error = weir_producer_wait(positions, 5000);
	for (int i = 0; !error && i < 1000; i++) {
		char text[64];
		int size = snprintf(text, sizeof(text), "vehicle %d step %d", i % 10, i / 10);
		struct weir_event event = { .key = (uint64_t)(i % 10), .payload = text, .payload_size = (uint32_t)size };
		// Full: the router or a slow consumer holds us back. Let the client work, then try again.
		while ((error = weir_publish(positions, &event)) == -EAGAIN)
			weir_poll(weir, 100);
	}
	if (!error)
		error = weir_flush(positions, 5000); // until the last one is acknowledged
	if (error)
		fprintf(stderr, "producer: %s\n", strerror(-error));
	if (weir)
		weir_close(weir, 1000);
	return error ? 1 : 0;
}
