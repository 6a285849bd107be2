#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "headscope/threads.h"
#include "headscope/train.h"
#include "kernels/gradients.h"
#include "kernels/isa.h"
#include "train/muon.h"

namespace headscope::train {

namespace {

constexpr std::int64_t kStretch = 1 << 14;  // numbers of one task

std::int64_t stretches(const Parameter& p) { return (p.value.size() + kStretch - 1) / kStretch; }

const AnyView& wanted(const std::map<std::string, AnyView, std::less<>>& state,
                      const std::string& name,
                      const Shape& shape) {
  const auto found = state.find(name);
  if (found == state.end())
    throw Error(ErrorCode::kNotFound, fmt::format("[adamw] expected {}, found none", name));
  const AnyView& view = found->second;
  if (view.dtype != DType::kF32 || view.shape != shape) {
    throw Error(view.dtype != DType::kF32 ? ErrorCode::kDType : ErrorCode::kShape,
                fmt::format("[adamw] expected {} f32 {}, found {} {}",
                            name,
                            to_string(shape),
                            headscope::name(view.dtype),
                            to_string(view.shape)));
  }
  return view;
}

}  // namespace

AdamW::AdamW(std::span<const Parameter> parameters, const AdamWOptions& options)
    : options_(options) {
  const auto share = [](double x) { return x >= 0.0 && x < 1.0; };
  if (!share(options.beta1) || !share(options.beta2) || !(options.eps > 0.0) ||
      !(options.weight_decay >= 0.0) || !(options.clip >= 0.0)) {
    throw Error(ErrorCode::kRange,
                fmt::format("[adamw] expected betas 0 to below 1, eps above 0, decay and clip not "
                            "below 0, found {}, {}, {}, {}, {}",
                            options.beta1,
                            options.beta2,
                            options.eps,
                            options.weight_decay,
                            options.clip));
  }
  for (const Parameter& p : parameters) {
    if (options.muon && p.inner && p.value.shape().size() != 2) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[adamw] expected inner parameters to be matrices, found {} {}",
                              p.name,
                              to_string(p.value.shape())));
    }
    Moments m{p.name, Tensor::zeros(DType::kF32, p.value.shape()), {}};
    if (!options.muon || !p.inner) m.second = Tensor::zeros(DType::kF32, p.value.shape());
    moments_.push_back(std::move(m));
  }
}

double AdamW::step(std::span<Parameter> parameters, double learning_rate) {
  if (parameters.size() != moments_.size()) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[adamw] expected {} parameters, found {}", moments_.size(), parameters.size()));
  }
  struct Task {
    std::size_t parameter;
    std::int64_t first;
  };
  std::vector<Task> tasks;
  std::vector<Turned> inner;
  for (std::size_t n = 0; n < parameters.size(); ++n) {
    const Parameter& p = parameters[n];
    if (p.name != moments_[n].name || p.value.shape() != moments_[n].first.shape() ||
        p.gradient.shape() != p.value.shape()) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[adamw] expected {} {}, found {} {}",
                              moments_[n].name,
                              to_string(moments_[n].first.shape()),
                              p.name,
                              to_string(p.value.shape())));
    }
    for (std::int64_t i = 0; i < stretches(p); ++i) tasks.push_back({n, i * kStretch});
    if (options_.muon && p.inner) inner.push_back({&parameters[n], &moments_[n].first});
  }
  const auto bodies = kernels::gradient_bodies(kernels::table().name);
  const auto count = static_cast<std::int64_t>(tasks.size());
  const auto size = [&](const Task& t) {
    return std::min(kStretch, parameters[t.parameter].value.size() - t.first);
  };
  std::vector<double> squares(tasks.size());
  parallel_for(count, [&](std::int64_t n) {
    const Task& t = tasks[static_cast<std::size_t>(n)];
    squares[static_cast<std::size_t>(n)] = bodies.sum_of_squares(
        parameters[t.parameter].gradient.span<float>().data() + t.first, size(t));
  });
  double sum = 0.0;
  const Parameter* bad = nullptr;
  for (std::size_t n = 0; n < tasks.size(); ++n) {
    sum += squares[n];
    if (bad == nullptr && !std::isfinite(squares[n])) bad = &parameters[tasks[n].parameter];
  }
  if (bad != nullptr) {
    for (Parameter& p : parameters) std::ranges::fill(p.gradient.span<float>(), 0.0F);
    throw Error(ErrorCode::kInput,
                fmt::format("[adamw] expected finite gradients, found others in {}; this step is "
                            "left out",
                            bad->name));
  }
  const double norm = std::sqrt(sum);
  const double clip = options_.clip > 0.0 && norm > options_.clip ? options_.clip / norm : 1.0;
  ++steps_;
  const auto t = static_cast<double>(steps_);
  kernels::AdamWTask common{};
  common.gradient_scale = static_cast<float>(clip);
  common.beta1 = static_cast<float>(options_.beta1);
  common.beta2 = static_cast<float>(options_.beta2);
  common.rate = static_cast<float>(learning_rate / (1.0 - std::pow(options_.beta1, t)));
  common.root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, t)));
  common.eps = static_cast<float>(options_.eps);
  muon(inner, learning_rate, learning_rate * options_.weight_decay, clip);
  parallel_for(count, [&](std::int64_t n) {
    const Task& own = tasks[static_cast<std::size_t>(n)];
    Parameter& p = parameters[own.parameter];
    if (options_.muon && p.inner) return;
    Moments& m = moments_[own.parameter];
    kernels::AdamWTask task = common;
    task.value = p.value.span<float>().data() + own.first;
    task.gradient = p.gradient.span<float>().data() + own.first;
    task.first = m.first.span<float>().data() + own.first;
    task.second = m.second.span<float>().data() + own.first;
    task.n = size(own);
    task.keep = static_cast<float>(1.0 - (p.decays ? learning_rate * options_.weight_decay : 0.0));
    bodies.adamw(task);
  });
  return norm;
}

std::map<std::string, AnyView, std::less<>> AdamW::state() const {
  std::map<std::string, AnyView, std::less<>> out;
  for (const Moments& m : moments_) {
    out.emplace("adamw.first." + m.name, m.first.any());
    if (!m.second.empty()) out.emplace("adamw.second." + m.name, m.second.any());
  }
  return out;
}

void AdamW::restore(const std::map<std::string, AnyView, std::less<>>& state, std::int64_t steps) {
  if (steps < 0)
    throw Error(ErrorCode::kRange, fmt::format("[adamw] expected steps, found {}", steps));
  for (const Moments& m : moments_) {
    (void)wanted(state, "adamw.first." + m.name, m.first.shape());
    if (!m.second.empty()) (void)wanted(state, "adamw.second." + m.name, m.second.shape());
  }
  for (Moments& m : moments_) {
    m.first = Tensor::copy_of(state.find("adamw.first." + m.name)->second);
    if (!m.second.empty()) m.second = Tensor::copy_of(state.find("adamw.second." + m.name)->second);
  }
  steps_ = steps;
}

}  // namespace headscope::train
