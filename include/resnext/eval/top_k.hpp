/// @file
/// The classes that a network thinks of first, and how often they are right.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <resnext/sorted_order.hpp>
#include <resnext/tensor/number.hpp>

namespace resnext {

/// Counts over evaluated images.
struct Accuracy {
  std::int64_t images = 0;        ///< how many
  std::int64_t correct = 0;       ///< the label had the largest logit
  std::int64_t correct_of_5 = 0;  ///< the label was among the five largest
  double loss = 0;                ///< sum of the cross-entropy, without smoothing

  /// The share of images whose label came first; 0 without images.
  double top1() const { return share(correct); }
  /// The share of images whose label was among the first five; 0 without images.
  double top5() const { return share(correct_of_5); }
  /// Of an image; 0 without images.
  double mean_loss() const { return images > 0 ? loss / static_cast<double>(images) : 0; }

  /// Counts the logits `[K]` of one image. NaN beats everything but is never right.
  template <class T>
  void add(std::span<const T> logits, std::int32_t label);

 private:
  double share(std::int64_t count) const {
    return images > 0 ? static_cast<double>(count) / static_cast<double>(images) : 0;
  }
};

/// A class and its probability.
struct Prediction {
  std::int32_t label = 0;  ///< class
  double probability = 0;  ///< by the softmax
};

namespace detail {

/// The logarithm of the sum of the exponentials.
template <class T>
double log_sum_exp(std::span<const T> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const T logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

}  // namespace detail

/// How many classes come before `label` when the logits `[K]` are sorted; of equal ones the first comes first. NaN
/// comes before everything, but a label whose own logit is NaN comes last.
template <class T>
int rank_of(std::span<const T> logits, std::int32_t label) {
  const auto at = static_cast<std::size_t>(label);
  if (is_nan(logits[at])) return static_cast<int>(logits.size());
  int rank = 0;
  for (std::size_t k = 0; k < logits.size(); ++k) {
    rank += is_nan(logits[k]) || logits[k] > logits[at] || (logits[k] == logits[at] && k < at);
  }
  return rank;
}

/// The first k classes of an image with logits `[K]`, all of them if there are fewer, in the order of rank_of(): by
/// logits, since the probabilities of many may be 0.
template <class T>
std::vector<Prediction> most_probable(std::span<const T> logits, int k) {
  const double total = detail::log_sum_exp(logits);
  auto order = detail::sorted_order(logits.size(), [&](std::size_t a, std::size_t b) {
    const bool number = !is_nan(logits[b]);
    return is_nan(logits[a]) ? number : number && logits[a] > logits[b];
  });
  order.resize(std::min(order.size(), static_cast<std::size_t>(std::max(k, 0))));
  std::vector<Prediction> predictions;
  for (const std::size_t at : order) {
    predictions.push_back({static_cast<std::int32_t>(at), std::exp(static_cast<double>(logits[at]) - total)});
  }
  return predictions;
}

template <class T>
void Accuracy::add(std::span<const T> logits, std::int32_t label) {
  const int rank = rank_of(logits, label);
  ++images;
  correct += rank < 1;
  correct_of_5 += rank < 5;
  loss += detail::log_sum_exp(logits) - static_cast<double>(logits[static_cast<std::size_t>(label)]);
}

}  // namespace resnext
