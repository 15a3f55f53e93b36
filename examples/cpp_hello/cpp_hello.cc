// Streams the continuation of a prompt that is given as token ids:  cpp_hello BUNDLE ID...
#include <skywork_rt/generator.h>

#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: cpp_hello BUNDLE ID...\n";
    return 2;
  }
  try {
    skywork_rt::Generator generator(argv[1]);
    skywork_rt::Request request;
    for (int i = 2; i < argc; ++i) request.prompt.push_back(std::atoi(argv[i]));
    request.sampling.temperature = 0.0f;
    request.sampling.max_tokens = 20;

    skywork_rt::RequestHandle handle = generator.Submit(request);
    skywork_rt::Update update;
    while (handle.Next(&update)) std::cout << update.text << std::flush;
    std::cout << '\n';
    const skywork_rt::Result result = handle.Get();
    for (const skywork_rt::TokenId id : result.samples[0].token_ids) std::cout << id << ' ';
    std::cout << '\n';
    return 0;
  } catch (const skywork_rt::Error& error) {
    std::cerr << skywork_rt::ErrorCodeName(error.code()) << ": " << error.what() << '\n';
    return 1;
  }
}
