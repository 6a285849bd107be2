#include "doctor/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "headscope/linear.h"

namespace headscope::doctor {

namespace {

Tensor repeated(const Tensor& one, std::int64_t n) {
  Shape shape = one.shape();
  shape.front() *= n;
  Tensor out(one.dtype(), shape);
  for (std::int64_t i = 0; i < n; ++i)
    std::memcpy(out.raw() + static_cast<std::size_t>(i) * one.bytes(), one.raw(), one.bytes());
  return out;
}

// Both one behind the other; either may be empty.
Tensor joined(Tensor a, Tensor b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  Shape shape = a.shape();
  shape.front() += b.dim(0);
  Tensor out(a.dtype(), shape);
  std::memcpy(out.raw(), a.raw(), a.bytes());
  std::memcpy(out.raw() + a.bytes(), b.raw(), b.bytes());
  return out;
}

// Runs layers [layer, end) over some streams.
Tensor carry(const Baseline& base,
             const Tensor& streams,
             int layer,
             const Tensor* attended = nullptr) {
  Resume resume;
  resume.layer = layer;
  resume.end = layer + 1;
  resume.x = &streams;
  resume.attended = attended;
  RunOptions options;
  options.outputs = false;
  options.resume = &resume;
  return base.model().run(base.copies(streams.dim(0)), options).last_hidden_state;
}

// The streams behind layer `layer` of edits made in it.
Tensor begin(const Baseline& base, std::span<const Edit> edits) {
  const int layer = edits.front().layer;
  const auto n = static_cast<std::int64_t>(edits.size());
  const AttentionWeights& w = base.model().attention(layer);
  Tensor merged = repeated(base.merged(layer), n);
  const auto each = merged.view<float, 3>();
  for (std::int64_t i = 0; i < n; ++i) {
    const View<float, 3> own(&each(i, 0, 0), {1, each.shape[1], each.shape[2]});
    merge(own, w.heads, edits.subspan(static_cast<std::size_t>(i), 1));
  }
  Tensor attended(DType::kF32, {n, base.rows(), w.output->out()});
  output(w, std::as_const(merged).view<float, 3>(), attended.view<float, 3>());
  const Tensor streams = repeated(base.stream(layer), n);
  return carry(base, streams, layer, &attended);
}

void check(const Baseline& base, std::span<const Edit> edits) {
  for (const Edit& edit : edits) {
    if (edit.layer < 0 || edit.layer >= base.layers() || edit.part != Edit::Part::kFindings) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[sweep] expected edits of findings in layers 0..{}, found layer {}",
                              base.layers() - 1,
                              edit.layer));
    }
  }
}

}  // namespace

std::string HeadId::name() const { return fmt::format("{}.{}", layer, head); }

std::vector<HeadId> heads_of(const Model& model) {
  std::vector<HeadId> out;
  for (int l = 0; l < model.layers(); ++l) {
    for (int h = 0; h < model.heads(l); ++h) out.push_back({l, h});
  }
  return out;
}

Tokens copy_of(const Tokens& tokens) {
  Tokens out;
  out.ids = tokens.ids.clone();
  out.type_ids = tokens.type_ids.clone();
  return out;
}

Baseline::Baseline(const Model& model, Tokens tokens) : model_(&model), tokens_(std::move(tokens)) {
  if (!model.resumes()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[doctor] expected a model of one stack of layers over words, found {}",
                            model.family()));
  }
  if (tokens_.ids.empty() || tokens_.ids.dim(0) != 1 || !tokens_.attention_mask.empty() ||
      !tokens_.cu_seqlens.empty()) {
    throw Error(ErrorCode::kInput, "[doctor] expected one sequence without padding");
  }
  Resume resume;
  RunOptions options;
  options.outputs = false;
  options.resume = &resume;
  resume.end = 0;
  streams_.push_back(model.run(tokens_, options).last_hidden_state);
  for (int l = 0; l < model.layers(); ++l) {
    resume.layer = l;
    resume.end = l + 1;
    resume.x = &streams_.back();
    options.trace_layers = {l};
    Run run = model.run(tokens_, options);
    attended_.push_back(std::move(run.traces.front().out));
    merged_.push_back(std::move(run.traces.front().merged));
    streams_.push_back(std::move(run.last_hidden_state));
  }
}

Tensor Baseline::findings(HeadId head) const {
  const auto from = merged(head.layer).view<float, 3>();
  const std::int64_t width = from.shape[2] / model_->heads(head.layer);
  Tensor out(DType::kF32, {rows(), width});
  for (std::int64_t i = 0; i < rows(); ++i)
    std::copy_n(&from(0, i, head.head * width), width, &out.view<float, 2>()(i, 0));
  return out;
}

AttentionTrace Baseline::trace(int layer, std::vector<Edit> edits) const {
  Resume resume;
  resume.layer = layer;
  resume.end = layer + 1;
  resume.x = &stream(layer);
  RunOptions options;
  options.outputs = false;
  options.resume = &resume;
  options.edits = std::move(edits);
  options.trace_layers = {layer};
  return std::move(model_->run(tokens_, options).traces.front());
}

Tokens Baseline::copies(std::int64_t n) const {
  Tokens out;
  out.ids = repeated(tokens_.ids, n);
  if (!tokens_.type_ids.empty()) out.type_ids = repeated(tokens_.type_ids, n);
  if (!tokens_.position_ids.empty()) out.position_ids = repeated(tokens_.position_ids, n);
  return out;
}

std::vector<double> sweep(const Baseline& base,
                          std::span<const Edit> edits,
                          const Judge& by,
                          const Told& told,
                          std::int64_t most_rows) {
  check(base, edits);
  std::vector<std::size_t> order(edits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return edits[a].layer < edits[b].layer;
  });
  const auto each = static_cast<std::size_t>(std::max<std::int64_t>(1, most_rows / base.rows()));
  std::vector<double> out(edits.size());
  for (std::size_t first = 0; first < order.size(); first += each) {
    const std::size_t last = std::min(order.size(), first + each);
    Tensor streams;
    std::size_t at = first;
    for (int l = edits[order[first]].layer; l < base.layers(); ++l) {
      std::vector<Edit> here;
      for (; at < last && edits[order[at]].layer == l; ++at) here.push_back(edits[order[at]]);
      if (!streams.empty()) streams = carry(base, streams, l);
      if (!here.empty()) streams = joined(std::move(streams), begin(base, here));
      if (told) {
        const auto L = static_cast<std::int64_t>(base.layers());
        const auto total = static_cast<std::int64_t>(order.size()) * L;
        const auto done = static_cast<std::int64_t>(first) * L;
        told(done + static_cast<std::int64_t>(last - first) * l, total);
      }
    }
    const std::vector<double> found = judge(base, by, streams);
    for (std::size_t i = first; i < last; ++i) out[order[i]] = found[i - first];
  }
  return out;
}

std::vector<Edit> edit_every_head(const Baseline& base, Edit::Kind kind, const Baseline* other) {
  std::vector<Edit> out;
  for (const HeadId id : heads_of(base.model())) {
    Edit edit;
    edit.layer = id.layer;
    edit.head = id.head;
    edit.kind = kind;
    if (kind == Edit::Kind::kReplace) {
      if (other == nullptr || other->rows() != base.rows()) {
        throw Error(ErrorCode::kShape,
                    fmt::format("[doctor] expected another run of {} tokens, found {}",
                                base.rows(),
                                other == nullptr ? 0 : other->rows()));
      }
      edit.replacement = std::make_shared<const Tensor>(other->findings(id));
    }
    out.push_back(std::move(edit));
  }
  return out;
}

}  // namespace headscope::doctor
