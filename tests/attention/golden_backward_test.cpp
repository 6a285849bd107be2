// Every case of golden/attention, backward: the reference and every instruction set, f32 and bf16.
#include <gtest/gtest.h>

#include <cmath>

#include "attention/focus_case.h"
#include "attention/gradients.h"
#include "golden/golden.h"
#include "kernels/isa.h"

namespace headscope {
namespace {

using golden::error;
using golden::floats;
using golden::FocusCase;
using testing_support::Gradients;

// Turns gradients back by the angles that rotary positions turned q and k by: the transposed rotation.
void turn_back(const FocusCase& c, const char* positions, Tensor& gradient) {
  if (!c.has("q_rotated")) return;
  const auto& rope = c.json().at("rope");
  const auto width = rope.at("width").get<std::int64_t>();
  const auto base = rope.at("base").get<double>();
  const bool neox = rope.at("style").get<std::string>() == "neox";
  const auto place = c.view<std::int32_t, 1>(positions);
  const auto x = gradient.view<float, 4>();
  for (std::int64_t n = 0; n < x.shape[0] * x.shape[1] * x.shape[2] * (width / 2); ++n) {
    const std::int64_t i = n % (width / 2);
    const std::int64_t t = n / (width / 2) % x.shape[2];
    const std::int64_t h = n / (width / 2) / x.shape[2] % x.shape[1];
    const std::int64_t b = n / (width / 2) / x.shape[2] / x.shape[1];
    const double angle = static_cast<double>(place(t)) *
                         std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(width));
    float& first = x(b, h, t, neox ? i : 2 * i);
    float& second = x(b, h, t, neox ? i + width / 2 : 2 * i + 1);
    const double u = first;
    const double v = second;
    first = static_cast<float>(u * std::cos(angle) + v * std::sin(angle));
    second = static_cast<float>(v * std::cos(angle) - u * std::sin(angle));
  }
}

double largest(std::span<const float> x) {
  double most = 0.0;
  for (float y : x) most = std::max(most, std::abs(double{y}));
  return most;
}

// Gradients that are 0 or next to it are measured by what they are a difference of.
double norm_of(const FocusCase& c, const char* name, const char* other) {
  const std::string stem = c.json().at("name").get<std::string>();
  const double own = largest(floats(c.tensor(name)));
  for (const char* near_zero : {"single_token", "window_left_0", "huge_scores", "equal_keys"}) {
    if (!stem.starts_with(near_zero)) continue;
    return std::max(own,
                    c.json().at("scale").get<double>() * largest(floats(c.tensor("dout"))) *
                        largest(floats(c.tensor("v"))) * largest(floats(c.tensor(other))) *
                        static_cast<double>(c.tensor("v").shape[3]));
  }
  return own;
}

void check_case(const FocusCase& c, Gradients g, double u) {
  turn_back(c, "q_pos", g.dq);
  turn_back(c, "k_pos", g.dk);
  // Weights come of a score and of an lse that was rounded, each with the error that the tolerance counts.
  const double t = 2.0 * u / 6e-8 * c.tolerance();
  const auto near = [&](const char* name, const Tensor& found, double norm) {
    EXPECT_LE(error(found.span<float>(), floats(c.tensor(name)), norm), t) << name;
  };
  near("dq", g.dq, norm_of(c, "dq", "k"));
  near("dk", g.dk, norm_of(c, "dk", "q"));
  near("dv", g.dv, largest(floats(c.tensor("dv"))));
  if (c.has("dbias")) near("dbias", g.dbias, largest(floats(c.tensor("dbias"))));
  if (c.has("dsinks")) near("dsinks", g.dsinks, largest(floats(c.tensor("dsinks"))));
}

// Calls run(case, tensors of the case) for every file.
template <typename F>
int each_case(F&& run) {
  int ran = 0;
  for (const auto& file : golden::files("attention", ".safetensors")) {
    SCOPED_TRACE(file.stem().string());
    run(FocusCase(file));
    ++ran;
  }
  return ran;
}

FocusGradientInput gradient_input(const FocusCase& c) {
  FocusGradientInput in;
  in.forward = c.input();
  in.out = c.view<float, 4>("out");
  in.lse = c.view<float, 3>("lse");
  in.dout = c.view<float, 4>("dout");
  if (c.has("dlse")) in.dlse = c.view<float, 3>("dlse");
  return in;
}

TEST(GoldenBackward, ReferenceOnEveryCase) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  EXPECT_GT(each_case([](const FocusCase& c) {
              const auto in = gradient_input(c);
              check_case(c, testing_support::gradients(focus_backward_reference, in), 6e-8);
            }),
            0);
}

TEST(GoldenBackward, EveryCaseOnEveryInstructionSet) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    SCOPED_TRACE(std::string(table->name));
    EXPECT_GT(each_case([](const FocusCase& c) {
                const auto in = gradient_input(c);
                check_case(c, testing_support::gradients(focus_backward, in), 6e-8);
              }),
              0);
  }
  kernels::use("auto");
}

// Inputs are exact in bf16; out is rounded, as a bf16 forward call gives it.
TEST(GoldenBackward, EveryCaseInBf16) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    SCOPED_TRACE(std::string(table->name));
    each_case([](const FocusCase& c) {
      const auto in = gradient_input(c);
      check_case(c, testing_support::gradients_in_bf16(focus_backward, in), 4e-3);
    });
  }
  kernels::use("auto");
}

}  // namespace
}  // namespace headscope
