#include "headscope/report.h"

#include <algorithm>
#include <string>
#include <vector>

#include "headscope/safetensors.h"
#include "report/report_data.h"

namespace headscope {

std::string report_html(const Report& report) {
  if (report.model == nullptr || report.sighting == nullptr) {
    throw Error(ErrorCode::kUsage, "[report] expected a model and a sighting, found none");
  }
  const std::size_t traces = report.traces == nullptr ? 0 : report.traces->size();
  if (traces != report.trace_layers.size()) {
    throw Error(ErrorCode::kUsage,
                "[report] expected a trace for each of " +
                    std::to_string(report.trace_layers.size()) + " layers, found " +
                    std::to_string(traces));
  }
  const Model& model = *report.model;
  report::Page page;
  page.model = model.name();
  page.family = model.family();
  page.layers = model.layers();
  for (int layer = 0; layer < model.layers(); ++layer)
    page.heads = std::max(page.heads, model.heads(layer));
  page.width = model.width();
  page.parameters = model.parameters();
  if (report.roles) page.roles = model.roles();
  page.remarks = report.remarks;
  page.sighting = report.sighting;
  page.layer = report.layer;
  page.head = report.head;
  page.row = report.row;
  page.view = report.view;
  page.language = report.language;
  std::vector<Tensor> weights, biases;  // borrowed by the walks below
  weights.reserve(traces);
  biases.reserve(traces);
  for (std::size_t i = 0; i < traces; ++i) {
    const int layer = report.trace_layers[i];
    const AttentionTrace& trace = (*report.traces)[i];
    const double error = contributions(model, layer, trace).error;
    weights.push_back(model.output_weight(layer));
    biases.push_back(model.output_bias(layer));
    page.walks.push_back({layer, &trace, &weights.back(), &biases.back(), error});
  }
  return report::page_html(page);
}

void write_report(const Report& report, const std::filesystem::path& path) {
  write_file(path, report_html(report));
}

}  // namespace headscope
