#pragma once

#include <string>
#include <string_view>

#include "models/weights.h"

namespace headscope::models {

/// Biases of a stack are optional for who reads one tensor; which must be there says its family.
/// Where config.json promised some, a file without any is refused, too.
/// Errors: kNotFound, naming the first one that is missing.
void expect_biases(const Weights& weights, const Blueprint& b);
/// Notes what config.json promises (attention_bias, mlp_bias and the like).
void promise_biases(const json::Value& config, Blueprint& b);
/// Likewise of what stands on top of a stack of this family.
void expect_biases(const Weights& weights, std::string_view family, const HeadBlueprint& head);
/// Of a map or a norm that has one in every file, `name`.bias (.beta in files of 2018).
void expect_bias(const Weights& weights, const std::string& name);

}  // namespace headscope::models
