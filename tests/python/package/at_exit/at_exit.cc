// A program whose Generator is alive when it exits:  at_exit BUNDLE BACKEND global|local idle|running
#include <skywork_rt/generator.h>

#include <iostream>
#include <memory>
#include <string>

namespace {

// Static from the program's start: destroyed after the statics of every library that was loaded later.
std::unique_ptr<skywork_rt::Generator> global;

skywork_rt::Generator& Open(const std::string& bundle, const std::string& backend, bool as_global) {
  skywork_rt::GeneratorOptions options;
  options.backend = backend;
  auto generator = std::make_unique<skywork_rt::Generator>(bundle, options);
  if (as_global) {
    global = std::move(generator);
    return *global;
  }
  // Static from here on: destroyed before the statics of the libraries that opening the bundle has loaded.
  static const std::unique_ptr<skywork_rt::Generator> local = std::move(generator);
  return *local;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const bool running = argv[4] == std::string("running");
  skywork_rt::Generator& generator = Open(argv[1], argv[2], argv[3] == std::string("global"));
  skywork_rt::Request request;
  request.prompt = {5, 6, 7};
  request.sampling.temperature = 0.0f;
  request.sampling.ignore_eos = true;
  request.sampling.max_tokens = running ? 60000 : 4;
  static skywork_rt::RequestHandle handle = generator.Submit(request);
  skywork_rt::Update update;
  std::size_t tokens = 0;
  while (tokens < 4 && handle.Next(&update)) tokens += update.token_ids.size();
  std::cout << (tokens >= 4 ? "generated" : "nothing") << std::endl;
  return 0;
}
