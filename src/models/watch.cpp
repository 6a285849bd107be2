#include "models/watch.h"

#include <fmt/format.h>

#include <algorithm>

namespace headscope::models {

namespace {

void check_layer(int layer, std::size_t layers, std::string_view what) {
  if (layer >= 0 && static_cast<std::size_t>(layer) < layers) return;
  throw Error(ErrorCode::kRange,
              fmt::format("[{}] expected a layer 0..{}, found {}", what, layers - 1, layer));
}

}  // namespace

void check_layers(const RunOptions& options, std::size_t layers) {
  for (const int layer : options.layers) check_layer(layer, layers, "sight");
  for (const Edit& edit : options.edits) check_layer(edit.layer, layers, "edit");
  for (auto here = options.trace_layers.begin(); here != options.trace_layers.end(); ++here) {
    check_layer(*here, layers, "trace");
    if (std::find(options.trace_layers.begin(), here, *here) != here) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[trace] expected each layer once, found {} twice", *here));
    }
  }
}

Watch::Watch(const RunOptions& options, Run& run, std::size_t layers) : options_(options), run_(run) {
  if (options.sight != nullptr) run.sighting.layers.resize(layers);
  run.traces.resize(options.trace_layers.size());
}

void Watch::over(std::size_t layer, AttentionCall& call) {
  const int number = static_cast<int>(layer);
  edits_.clear();
  for (const Edit& edit : options_.edits) {
    if (edit.layer == number) edits_.push_back(edit);
  }
  call.edits = edits_;
  const bool seen = options_.layers.empty() ||
                    std::count(options_.layers.begin(), options_.layers.end(), number) > 0;
  if (options_.sight != nullptr && seen) {
    call.sight = options_.sight;
    call.record = &run_.sighting.layers[layer];
  }
  const auto& traced = options_.trace_layers;
  const auto here = std::find(traced.begin(), traced.end(), number);
  if (here != traced.end()) call.trace = &run_.traces[static_cast<std::size_t>(here - traced.begin())];
}

}  // namespace headscope::models
