// skywork_rt_lite_convert IN.mindir OUT.ms
//
// Runs Lite's offline converter on a legalised MindIR (a single file, or a graph file with its weights beside it) and
// saves Lite's own format, which loads several times faster in half of the memory. Over 2 GiB the weights go to
// OUT.msw. A process of its own, because the converter's libraries and MindSpore's cannot share one. Exit status 0, or
// 1 with the reason as the last line of standard error.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "backend/lite/tools/converter_api.h"

namespace {

// The converter appends the extension itself.
std::string WithoutExtension(const std::string& path) {
  const std::string extension = ".ms";
  const bool has =
      path.size() > extension.size() && path.compare(path.size() - extension.size(), extension.size(), extension) == 0;
  return has ? path.substr(0, path.size() - extension.size()) : path;
}

int Convert(const std::string& input, const std::string& output) {
  mindspore::Converter converter;
  converter.SetSaveType(mindspore::kMindIR_Lite);
  // Our four-dimensional inputs are no images: without this the converter wants each of them transposed.
  converter.SetInputFormat(mindspore::NCHW);
  const mindspore::Status status =
      converter.Convert(mindspore::converter::kFmkTypeMs, mindspore::StringToChar(input),
                        mindspore::StringToChar(WithoutExtension(output)), mindspore::StringToChar(""));
  if (!status.IsOk()) {
    std::fprintf(stderr, "Lite's converter refused %s: %s\n", input.c_str(), status.ToString().c_str());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: skywork_rt_lite_convert IN.mindir OUT.ms\n");
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
