#include "bindings/text.h"

#include <pybind11/stl.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "text/text_stream.h"
#include "text/vocabulary.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

std::string Push(TextStream& stream, TokenId token) {
  std::string text;
  stream.Push(token, &text);
  return text;
}

std::string Finish(TextStream& stream) {
  std::string text;
  stream.Finish(&text);
  return text;
}

std::optional<std::string> StopText(const TextStream& stream) {
  if (!stream.stopped()) return std::nullopt;
  return *stream.stop_text();
}

}  // namespace

void BindText(py::module_& module) {
  py::class_<Vocabulary>(module, "Vocabulary", "A bundle's vocab.bin: what each id stands for.")
      .def(py::init([](const std::string& path) { return Vocabulary::Load(std::filesystem::path(path)); }),
           py::arg("path"))
      .def("__len__", &Vocabulary::size)
      .def(
          "token_bytes",
          [](const Vocabulary& vocabulary, TokenId id) {
            vocabulary.CheckId(id);
            return py::bytes(std::string(vocabulary.bytes(id)));
          },
          py::arg("token_id"), "Bytes that the id stands for; not always whole characters.")
      .def(
          "decode",
          [](const Vocabulary& vocabulary, const std::vector<TokenId>& ids, bool skip_special_tokens) {
            return vocabulary.Decode(ids, skip_special_tokens);
          },
          py::arg("ids"), py::arg("skip_special_tokens") = true, "Text of `ids`, equal to the tokenizer's own.");
  py::class_<TextStream>(module, "TextStream", "The text of ids that come one by one, as soon as it is certain.")
      .def(py::init([](const Vocabulary& vocabulary, const std::vector<std::string>& stop, bool include_stop,
                       bool skip_special_tokens) {
             return TextStream(vocabulary, stop, include_stop, skip_special_tokens);
           }),
           py::arg("vocabulary"), py::arg("stop") = std::vector<std::string>{}, py::arg("include_stop") = false,
           py::arg("skip_special_tokens") = true, py::keep_alive<1, 2>())
      .def("push", &Push, py::arg("token_id"), "The text that the id made certain.")
      .def("finish", &Finish, "What was held back: no more ids come.")
      .def_property_readonly("stopped", &TextStream::stopped)
      .def_property_readonly("stop_text", &StopText, "The stop text that ended the text, or None.");
}

}  // namespace skywork_rt::bindings
