#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <tuple>

#include "grammar/grammar_compiler.h"

namespace skywork_rt::bindings {

/// Who compiles a grammar, and the type and the text that it takes.
using GrammarOrder = std::tuple<std::shared_ptr<grammar::GrammarCompiler>, std::string, std::string>;

void BindGrammar(pybind11::module_& module);

}  // namespace skywork_rt::bindings
