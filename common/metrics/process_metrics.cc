#include "common/metrics/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

namespace naru {
namespace {

// The second number of statm is resident pages, the first all pages.
double StatmPages(bool resident) {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long long all = 0;
  long long in_memory = 0;
  const int read = std::fscanf(file, "%lld %lld", &all, &in_memory);
  std::fclose(file);
  if (read != 2) return 0;
  return static_cast<double>(resident ? in_memory : all) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double EntriesOf(const char* directory) {
  DIR* dir = opendir(directory);
  if (dir == nullptr) return 0;
  int count = 0;
  while (const dirent* entry = readdir(dir)) count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

double CpuSeconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

double MaxOpenFiles() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

std::vector<ProcessMetric> ProcessMetrics() {
  const double start = static_cast<double>(std::time(nullptr));
  return {
      {"process_resident_memory_bytes", "Memory of the process that is in RAM.", false,
       [] { return StatmPages(true); }},
      {"process_virtual_memory_bytes", "Address space of the process.", false, [] { return StatmPages(false); }},
      {"process_cpu_seconds_total", "Processor time used by all threads.", true, CpuSeconds},
      // Reading the directory opens a descriptor of its own, which is not counted.
      {"process_open_fds", "Open file descriptors.", false, [] { return EntriesOf("/proc/self/fd") - 1; }},
      {"process_max_fds", "Limit of open file descriptors.", false, MaxOpenFiles},
      {"process_threads", "Threads of the process.", false, [] { return EntriesOf("/proc/self/task"); }},
      {"process_start_time_seconds", "When the process began to count, seconds since 1970.", false,
       [start] { return start; }},
  };
}

}  // namespace naru
