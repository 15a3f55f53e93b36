#include <pybind11/pybind11.h>

#include "bindings/bench.h"
#include "bindings/build_info.h"
#include "bindings/errors.h"
#include "bindings/generator.h"
#include "bindings/grammar.h"
#include "bindings/host.h"
#include "bindings/log.h"
#include "bindings/opening.h"
#include "bindings/options.h"
#include "bindings/python_backend.h"
#include "bindings/raw_backend.h"
#include "bindings/tables.h"
#include "bindings/text.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ core of skywork_rt. Use skywork_rt.Generator; this module may change without notice.";
  skywork_rt::bindings::BindErrors(module);
  skywork_rt::bindings::BindBuildInfo(module);
  skywork_rt::bindings::BindOptions(module);
  skywork_rt::bindings::BindTables(module);
  skywork_rt::bindings::BindHost(module);
  skywork_rt::bindings::BindGrammar(module);
  skywork_rt::bindings::BindGenerator(module);
  skywork_rt::bindings::BindLog(module);
  skywork_rt::bindings::BindRawBackend(module);
  skywork_rt::bindings::BindPythonBackend(module);
  skywork_rt::bindings::BindOpening(module);
  skywork_rt::bindings::BindText(module);
  auto bench = module.def_submodule("bench", "What `skywork-rt bench` measures below the public API.");
  skywork_rt::bindings::BindBench(bench);
}
