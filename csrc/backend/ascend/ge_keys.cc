#include "backend/ascend/ge_keys.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace skywork_rt::ascend {
namespace {

/// Options that GE takes for a session, a graph, or globally: it says which where it reads them.
std::vector<const char*> GeOptions() {
  return {"ge.DDK_version",
          "ge.INPUT_NODES_SET_FP16",
          "ge.TBE_plugin_path",
          "ge.aicoreNum",
          "ge.aicpuFlag",
          "ge.autoTuneMode",
          "ge.bufferOptimize",
          "ge.build_inner_model",
          "ge.compressionOptimizeConf",
          "ge.constLifecycle",
          "ge.customizeDtypes",
          "ge.debugDir",
          "ge.deterministic",
          "ge.deviceType",
          "ge.disableOptimizations",
          "ge.display_model_info",
          "ge.dynamicBatchSize",
          "ge.dynamicDims",
          "ge.dynamicImageSize",
          "ge.dynamicNodeType",
          "ge.enableCompressWeight",
          "ge.enableGraphParallel",
          "ge.enablePrintOpPass",
          "ge.enableSingleStream",
          "ge.enableSmallChannel",
          "ge.enableSparseMatrixWeight",
          "ge.engineType",
          "ge.event",
          "ge.exec.allow_hf32",
          "ge.exec.atomicCleanPolicy",
          "ge.exec.dataInputsShapeRange",
          "ge.exec.disableReuseMemory",
          "ge.exec.dumpData",
          "ge.exec.dumpDebugMode",
          "ge.exec.dumpLayer",
          "ge.exec.dumpMode",
          "ge.exec.dumpPath",
          "ge.exec.dumpStep",
          "ge.exec.dynamicGraphExecuteMode",
          "ge.exec.dynamicInput",
          "ge.exec.enableCopyOutputAddr",
          "ge.exec.enableDump",
          "ge.exec.enableDumpDebug",
          "ge.exec.enable_exception_dump",
          "ge.exec.enableFusion",
          "ge.exec.exclude_engines",
          "ge.exec.formatMode",
          "ge.exec.graphExecTimeout",
          "ge.exec.graphIOMemAllocMode",
          "ge.exec.hcclFlag",
          "ge.exec.inputReuseMemIndexes",
          "ge.exec.isTailingOptimization",
          "ge.exec.memoryOptimizationPolicy",
          "ge.exec.modelDeployMode",
          "ge.exec.modify_mixlist",
          "ge.exec.opExecuteTimeout",
          "ge.exec.op_precision_mode",
          "ge.exec.opWaitTimeout",
          "ge.exec.outputReuseMemIndexes",
          "ge.exec.precision_mode",
          "ge.exec.precision_mode_v2",
          "ge.exec.profilingMode",
          "ge.exec.profilingOptions",
          "ge.exec.reuseZeroCopyMemory",
          "ge.exec.staticMemoryPolicy",
          "ge.exec.tuneDeviceIds",
          "ge.externalWeight",
          "ge.featureBaseRefreshable",
          "ge.fusionSwitchFile",
          "ge.fusionTensorSize",
          "ge.graphMemoryMaxSize",
          "ge.graphRunMode",
          "ge.graph_compiler_cache_dir",
          "ge.graph_key",
          "ge.hcomParallel",
          "ge.inputShape",
          "ge.insertOpFile",
          "ge.jit_compile",
          "ge.l1Fusion",
          "ge.maxDumpFileNum",
          "ge.maxDumpFileSize",
          "ge.maxDumpOpNum",
          "ge.mdl_bank_path",
          "ge.opDebugLevel",
          "ge.opSelectImplmode",
          "ge.op_bank_path",
          "ge.op_bank_update",
          "ge.op_compiler_cache_dir",
          "ge.op_compiler_cache_mode",
          "ge.optypelistForImplmode",
          "ge.outputDatatype",
          "ge.outputNodeName",
          "ge.perfLevel",
          "ge.performance_mode",
          "ge.runFlag",
          "ge.saveOriginalModel",
          "ge.screen_print_mode",
          "ge.shape_generalized_build_mode",
          "ge.soLoadPath",
          "ge.socVersion",
          "ge.status_check",
          "ge.streamMaxParallelNum",
          "ge.streamNum",
          "ge.trainFlag",
          "ge.variableMemoryMaxSize",
          "ge.virtual_type",
          "event_sync_timeout",
          "op_debug_config",
          "stream_sync_timeout"};
}

std::vector<GeSection> AllSections() {
  const std::vector<const char*> options = GeOptions();
  return {
      {"ascend_context",
       {"aoe_mode", "dump_config_file", "dump_model_name", "enable_custom_op", "ge_graph_memory_max_size",
        "ge_variable_memory_max_size", "inner_calc_workspace_size", "inner_sharing_workspace", "kvcache_input_layout",
        "mixprecision_list_path", "model_cache_dir", "model_cache_mode", "op_attrs", "parameter_as_refdata",
        "plugin_custom_ops", "profiling_config_file", "provider", "rank_table_file"}},
      {"ge_session_options", options},
      {"ge_graph_options", options},
      {"ge_global_options", options},
      {"common_context", {"enable_mindrt", "external_allocator"}},
      {"model_file", {"mindir_path"}},
      {"weight", {"weight_path"}},
  };
}

/// Steps of one letter (Levenshtein), letters of either case being alike.
std::size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const std::vector<GeSection>& GeSections() {
  static const auto* sections = new std::vector<GeSection>(AllSections());  // lives as long as the process
  return *sections;
}

std::vector<std::string> Nearest(const std::string& name, const std::vector<const char*>& known) {
  constexpr std::size_t kMost = 3;
  std::vector<std::string> nearest(known.begin(), known.end());
  std::stable_sort(nearest.begin(), nearest.end(),
                   [&](const std::string& a, const std::string& b) { return Distance(name, a) < Distance(name, b); });
  if (nearest.size() > kMost) nearest.resize(kMost);
  return nearest;
}

}  // namespace skywork_rt::ascend
