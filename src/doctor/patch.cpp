#include "doctor/patch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "doctor/gradients.h"
#include "headscope/linear.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

Edit::Part part_of(Patch what) {
  switch (what) {
    case Patch::kQuery:
      return Edit::Part::kQuery;
    case Patch::kKey:
      return Edit::Part::kKey;
    case Patch::kValue:
      return Edit::Part::kValue;
    case Patch::kFindings:
      break;
  }
  return Edit::Part::kFindings;
}

// [T,width] of one head of [1,H,T,width].
std::shared_ptr<const Tensor> slice(const Tensor& heads, std::int64_t h) {
  const auto from = heads.view<float, 4>();
  auto out = std::make_shared<Tensor>(DType::kF32, Shape{from.shape[2], from.shape[3]});
  std::memcpy(out->raw(), &from(0, h, 0, 0), out->bytes());
  return out;
}

// Edits that give every head of a layer the clean q, k or v.
void add_parts(const AttentionTrace& clean, int layer, Patch what, std::vector<Edit>& edits) {
  const Tensor& from = what == Patch::kQuery ? clean.q : what == Patch::kKey ? clean.k : clean.v;
  for (std::int64_t h = 0; h < from.dim(1); ++h) {
    Edit edit;
    edit.layer = layer;
    edit.head = static_cast<int>(h);
    edit.kind = Edit::Kind::kReplace;
    edit.part = part_of(what);
    edit.replacement = slice(from, h);
    edits.push_back(std::move(edit));
  }
}

Edit findings_edit(HeadId id, std::shared_ptr<const Tensor> z) {
  Edit edit;
  edit.layer = id.layer;
  edit.head = id.head;
  edit.kind = Edit::Kind::kReplace;
  edit.replacement = std::move(z);
  return edit;
}

// Heads do not see each other inside a layer: with the clean part in all of them at once, each finds what it would
// find if it alone had it.
std::vector<Edit> findings_of(const Baseline& clean, const Baseline& corrupt, Patch what) {
  if (what == Patch::kFindings) return edit_every_head(corrupt, Edit::Kind::kReplace, &clean);
  std::vector<Edit> out;
  for (int l = 0; l < corrupt.layers(); ++l) {
    std::vector<Edit> parts;
    add_parts(clean.trace(l), l, what, parts);
    const AttentionTrace found = corrupt.trace(l, std::move(parts));
    for (int h = 0; h < corrupt.model().heads(l); ++h)
      out.push_back(findings_edit({l, h}, slice(found.z, h)));
  }
  return out;
}

void finish(Patching& out, const std::vector<double>& measures) {
  const double whole = out.clean - out.corrupt;
  for (std::size_t i = 0; i < measures.size(); ++i) {
    out.heads[i].measure = measures[i];
    out.heads[i].restored = (measures[i] - out.corrupt) / whole;
  }
}

Patching begin(const Baseline& clean, const Baseline& corrupt, const Judge& by) {
  check_aligned(clean.model(), clean.tokens(), corrupt.tokens());
  Patching out;
  out.clean = judge(clean, by);
  out.corrupt = judge(corrupt, by);
  if (!(std::abs(out.clean - out.corrupt) > 1e-6)) {
    throw Error(
        ErrorCode::kInput,
        fmt::format(
            "[patch] expected the two texts to be judged differently, found {:.6f} for both",
            out.clean));
  }
  return out;
}

// What a head's clean findings add to the stream of the corrupt run: (z - z') W_O^h, times the residual's scale.
Tensor nudged(const Baseline& clean, const Baseline& corrupt, HeadId head, const Tensor& stream) {
  const AttentionWeights& w = corrupt.model().attention(head.layer);
  Tensor merged = corrupt.merged(head.layer).clone();
  const Edit edit = findings_edit(head, std::make_shared<const Tensor>(clean.findings(head)));
  merge(merged.view<float, 3>(), w.heads, std::span(&edit, 1));
  Tensor attended(DType::kF32, corrupt.attended(head.layer).shape());
  output(w, std::as_const(merged).view<float, 3>(), attended.view<float, 3>());
  Tensor out = stream.clone();
  const float scale = corrupt.model().network().blueprint().residual_scale;
  const auto before = corrupt.attended(head.layer).span<float>();
  for (std::size_t i = 0; i < before.size(); ++i)
    out.span<float>()[i] += scale * (attended.span<float>()[i] - before[i]);
  return out;
}

}  // namespace

void check_aligned(const Model& model, const Tokens& clean, const Tokens& corrupt) {
  const auto a = clean.ids.span<std::int32_t>();
  const auto b = corrupt.ids.span<std::int32_t>();
  if (a.size() == b.size()) return;
  std::size_t at = 0;
  while (at < std::min(a.size(), b.size()) && a[at] == b[at]) ++at;
  const auto word = [&](std::span<const std::int32_t> ids) {
    return at < ids.size() ? fmt::format("\"{}\"", model.tokenizer().decode(ids.subspan(at, 1)))
                           : std::string("its end");
  };
  throw Error(
      ErrorCode::kInput,
      fmt::format("[patch] expected two texts that align token by token, found {} and {} tokens; "
                  "they part at token {}: {} and {}",
                  a.size(),
                  b.size(),
                  at,
                  word(a),
                  word(b)));
}

Patching patch(const Baseline& clean,
               const Baseline& corrupt,
               Patch what,
               const Judge& by,
               const PatchOptions& options) {
  Patching out = begin(clean, corrupt, by);
  const std::vector<Edit> edits = findings_of(clean, corrupt, what);
  for (const Edit& edit : edits) out.heads.push_back({{edit.layer, edit.head}, 0.0, 0.0, {}});
  if (options.slopes == nullptr) {
    finish(out, sweep(corrupt, edits, by, options.told));
    return out;
  }
  const std::vector<double> moves = foretell(corrupt, *options.slopes, edits);
  std::vector<std::size_t> order(edits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(moves[a]) > std::abs(moves[b]);
  });
  order.resize(std::min(order.size(), options.exact));
  std::vector<Edit> chosen;
  for (const std::size_t i : order) chosen.push_back(edits[i]);
  const std::vector<double> found = sweep(corrupt, chosen, by, options.told);
  std::vector<double> measures(edits.size(), std::numeric_limits<double>::quiet_NaN());
  for (std::size_t i = 0; i < order.size(); ++i) measures[order[i]] = found[i];
  finish(out, measures);
  for (std::size_t i = 0; i < moves.size(); ++i)
    out.heads[i].foretold = moves[i] / (out.clean - out.corrupt);
  return out;
}

Patching patch_path(const Baseline& clean,
                    const Baseline& corrupt,
                    HeadId to,
                    Patch by_way,
                    const Judge& by,
                    const Told& told) {
  const Model& model = corrupt.model();
  if (model.network().readout(0, 0).empty()) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[patch] expected a model whose heads add to the stream as they are, found {}",
                    model.family()));
  }
  Patching out = begin(clean, corrupt, by);
  std::vector<Edit> edits;
  for (const HeadId from : heads_of(model)) {
    if (from.layer >= to.layer) break;
    Resume resume;
    const Tensor stream = nudged(clean, corrupt, from, corrupt.stream(to.layer));
    resume.layer = to.layer;
    resume.end = to.layer + 1;
    resume.x = &stream;
    RunOptions options;
    options.outputs = false;
    options.resume = &resume;
    options.trace_layers = {to.layer};
    AttentionTrace found = std::move(model.run(corrupt.tokens(), options).traces.front());
    if (by_way != Patch::kFindings) {
      std::vector<Edit> parts;
      add_parts(found, to.layer, by_way, parts);
      found = corrupt.trace(to.layer, std::move(parts));
    }
    edits.push_back(findings_edit(to, slice(found.z, to.head)));
    out.heads.push_back({from, 0.0, 0.0, {}});
  }
  finish(out, sweep(corrupt, edits, by, told));
  return out;
}

}  // namespace headscope::doctor
