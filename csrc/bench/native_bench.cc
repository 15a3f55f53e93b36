// Measures the native backend alone: load, prefill, decode at some batch sizes, beside the memory's own speed.
//
//   native_bench BUNDLE [--weights int8] [--threads 2] [--prompt 512] [--decode 128] [--batch 1] [--mmap 0]
//                       [--kv f32] [--repeat 3]
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "bench/memory_stream.h"
#include "skywork_rt/error.h"

namespace {

using namespace skywork_rt;  // NOLINT(google-build-using-namespace): a program of one file
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds of processor time of this process: on a machine that others use, steadier than the clock.
double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

double PeakMegabytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Argument(std::map<std::string, std::string>& given, const std::string& name, int otherwise) {
  const auto found = given.find("--" + name);
  return found == given.end() ? otherwise : std::stoi(found->second);
}

struct Times {
  double prefill = 0;
  double decode = 0;
  double prefill_cpu = 0;
  double decode_cpu = 0;
};

Times RunOnce(Backend& backend, int prompt, int decode, int batch) {
  const auto vocab = static_cast<std::size_t>(backend.model().vocab_size);
  std::vector<float> logits(static_cast<std::size_t>(batch) * vocab);
  std::vector<SeqId> sequences;
  std::vector<TokenId> next(static_cast<std::size_t>(batch), 1);
  Times times;
  for (int b = 0; b < batch; ++b) {
    std::vector<TokenId> tokens;
    tokens.reserve(static_cast<std::size_t>(prompt));
    for (int i = 0; i < prompt; ++i) tokens.push_back((i * 131 + b * 17) % backend.model().vocab_size);
    const int last = prompt - 1;
    sequences.push_back(backend.Open(static_cast<std::size_t>(prompt) + static_cast<std::size_t>(decode)));
    const Chunk chunk{sequences.back(), tokens, {&last, 1}};
    const auto start = Clock::now();
    const double cpu = CpuSeconds();
    backend.Forward({&chunk, 1}, {logits.data(), vocab});
    times.prefill += SecondsSince(start);
    times.prefill_cpu += CpuSeconds() - cpu;
  }
  const int row = 0;
  const auto start = Clock::now();
  const double cpu = CpuSeconds();
  for (int i = 0; i < decode; ++i) {
    std::vector<Chunk> chunks;
    chunks.reserve(sequences.size());
    for (int b = 0; b < batch; ++b) {
      chunks.push_back({sequences[static_cast<std::size_t>(b)], {&next[static_cast<std::size_t>(b)], 1}, {&row, 1}});
    }
    backend.Forward(chunks, logits);
    for (int b = 0; b < batch; ++b) {
      const float* begin = logits.data() + static_cast<std::size_t>(b) * vocab;
      next[static_cast<std::size_t>(b)] = static_cast<TokenId>(std::max_element(begin, begin + vocab) - begin);
    }
  }
  times.decode = SecondsSince(start);
  times.decode_cpu = CpuSeconds() - cpu;
  for (const SeqId seq : sequences) backend.Close(seq);
  return times;
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: native_bench BUNDLE [--weights int8] [--threads 2] [--prompt 512] [--decode 128] "
                 "[--batch 1] [--mmap 0] [--kv f32] [--repeat 3]\n");
    return 2;
  }
  std::map<std::string, std::string> given;
  for (int i = 2; i + 1 < argc; i += 2) given[argv[i]] = argv[i + 1];
  const Bundle bundle = Bundle::Open(argv[1]);
  const int prompt = Argument(given, "prompt", 512);
  const int decode = Argument(given, "decode", 128);
  const int batch = Argument(given, "batch", 1);
  BackendOptions options;
  options.backend = "native";
  if (given.count("--weights") != 0) options.weights = given["--weights"];
  if (given.count("--kv") != 0) options.kv_cache = given["--kv"];
  if (given.count("--activations") != 0) options.activations = given["--activations"];
  options.threads = Argument(given, "threads", 2);
  if (given.count("--mmap") != 0) options.mmap = Argument(given, "mmap", 0) != 0;
  options.max_batch = batch;
  options.max_length = static_cast<std::size_t>(prompt) + static_cast<std::size_t>(decode);
  const auto start = Clock::now();
  const auto backend = MakeBackend(bundle, options);
  const double load = SecondsSince(start);
  std::vector<double> prefill;
  std::vector<double> decoding;
  std::vector<double> prefill_cpu;
  std::vector<double> decode_cpu;
  for (int i = 0; i < Argument(given, "repeat", 3); ++i) {
    const Times times = RunOnce(*backend, prompt, decode, batch);
    prefill.push_back(prompt * batch / times.prefill);
    decoding.push_back(decode * batch / times.decode);
    prefill_cpu.push_back(prompt * batch / times.prefill_cpu);
    decode_cpu.push_back(decode * batch / times.decode_cpu);
  }
  const double peak = PeakMegabytes();
  const double stream =
      Argument(given, "stream", 1) != 0 ? MeasureMemoryStream(options.threads, std::size_t{512} << 20, 5) : 0.0;
  std::printf(
      "weights %s threads %d mmap %s kv %s batch %d | load %.3f s | prefill %.1f tok/s, %.1f a cpu second | "
      "decode %.1f tok/s, %.1f a cpu second | peak %.0f MB | stream %.1f GB/s\n",
      options.weights.c_str(), options.threads, given.count("--mmap") != 0 ? given["--mmap"].c_str() : "auto",
      options.kv_cache.c_str(), batch, load, Median(prefill), Median(prefill_cpu), Median(decoding), Median(decode_cpu),
      peak, stream / 1e9);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const skywork_rt::Error& error) {
    std::fprintf(stderr, "native_bench: %s\n", error.what());
    return 1;
  }
}
