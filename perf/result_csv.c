// The seconds of a result document as CSV, for spreadsheets: one row a second, one column a field, two a core.
#include "perf/result.h"

#include <errno.h>

static void quote(FILE *stream, const char *text)
{
	fputc('"', stream);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', stream);
		fputc(*text, stream);
	}
	fputc('"', stream);
}

static void head_write(FILE *stream, uint32_t cores)
{
	fputs("run,step,start_s,duration_s,intended,sent,acknowledged,received,lost,refused,missed,redelivered,credit_stalls,"
	      "credit_stall_ms,lag_max_us,latency_p50_us,latency_p99_us,latency_max_us,"
	      "router_mib", stream);
	for (uint32_t c = 0; c < cores; c++)
		fprintf(stream, ",core%u_busy_ratio,core%u_steal_ratio", c, c);
	fputs("\r\n", stream);
}

static void row_write(FILE *stream, uint32_t number, const struct weir_result_run *run, uint32_t index, uint32_t cores)
{
	const struct weir_result_second *second = &run->seconds[index];
	fprintf(stream, "%u,", number);
	quote(stream, second->step < run->step_count ? run->steps[second->step]->name : "");
	fprintf(stream, ",%.3f,%.3f,%lu,%lu,%lu,%lu,%lu,%lu,%lu,%lu,%lu,%.3f,%.3f,%.3f,%.3f,%.3f,%.2f",
		(double)second->start_ns / 1e9, (double)second->duration_ns / 1e9, second->intended, second->sent,
		second->acknowledged, second->received, second->lost, second->refused, second->missed, second->redelivered,
		second->credit_stalls, (double)second->credit_stall_ns / 1e6, (double)second->lag_max_ns / 1e3,
		(double)second->latency_p50_ns / 1e3, (double)second->latency_p99_ns / 1e3,
		(double)second->latency_max_ns / 1e3, (double)second->router_bytes / (1 << 20));
	for (uint32_t c = 0; c < cores; c++) {
		if (c >= run->core_count) {
			fputs(",,", stream);
			continue;
		}
		const struct weir_result_cpu *cpu = &weir_result_second_cpu(run, index)[c];
		fprintf(stream, ",%.4f,%.4f", cpu->user_ratio + cpu->system_ratio + cpu->irq_ratio, cpu->steal_ratio);
	}
	fputs("\r\n", stream);
}

int weir_result_write_csv(const struct weir_result *result, FILE *stream)
{
	uint32_t cores = 0;
	for (uint32_t r = 0; r < result->run_count; r++) {
		if (result->runs[r]->core_count > cores)
			cores = result->runs[r]->core_count;
	}
	head_write(stream, cores);
	for (uint32_t r = 0; r < result->run_count; r++) {
		for (uint32_t i = 0; i < result->runs[r]->second_count; i++)
			row_write(stream, r + 1, result->runs[r], i, cores);
	}
	return fflush(stream) || ferror(stream) ? -EIO : 0;
}
