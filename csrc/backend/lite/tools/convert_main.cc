// skywork_rt_lite_convert IN.mindir OUT.ms | OUT.mindir
//
// Runs Lite's offline converter on a legalised MindIR (a single file, or a graph file with its weights beside it). The
// ending of OUT says what is saved: Lite's own format (.ms), which loads several times faster in half of the memory and
// puts weights over 2 GiB into OUT.msw, or an optimised MindIR (.mindir), one file. A process of its own, because the
// converter's libraries and MindSpore's cannot share one. Exit status 0, or 1 with the reason as the last line of
// standard error.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "backend/lite/tools/converter_api.h"

namespace {

constexpr char kMindIr[] = ".mindir";
constexpr char kLite[] = ".ms";

bool EndsWith(const std::string& text, const std::string& ending) {
  return text.size() > ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

// The converter appends the ending itself.
std::string WithoutEnding(const std::string& path) {
  for (const char* ending : {kMindIr, kLite}) {
    if (EndsWith(path, ending)) return path.substr(0, path.size() - std::string(ending).size());
  }
  return path;
}

int Convert(const std::string& input, const std::string& output) {
  mindspore::Converter converter;
  converter.SetSaveType(EndsWith(output, kMindIr) ? mindspore::kMindIR : mindspore::kMindIR_Lite);
  // Our four-dimensional inputs are no images: without this the converter wants each of them transposed.
  converter.SetInputFormat(mindspore::NCHW);
  const mindspore::Status status =
      converter.Convert(mindspore::converter::kFmkTypeMs, mindspore::StringToChar(input),
                        mindspore::StringToChar(WithoutEnding(output)), mindspore::StringToChar(""));
  if (!status.IsOk()) {
    std::fprintf(stderr, "Lite's converter refused %s: %s\n", input.c_str(), status.ToString().c_str());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: skywork_rt_lite_convert IN.mindir OUT.ms|OUT.mindir\n");
    return EXIT_FAILURE;
  }
  int status = EXIT_FAILURE;
  try {
    status = Convert(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "Lite's converter failed on %s: %s\n", argv[1], error.what());
  }
  std::fflush(nullptr);
  std::quick_exit(status);  // Lite's static objects do not survive an ordinary exit
}
