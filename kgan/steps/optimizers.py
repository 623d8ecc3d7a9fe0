"""Keras's optimizers, for gradients that are already summed over replicas, and with a fused Adam."""

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """Keras's Adam (Kingma and Ba 2015, arXiv:1412.6980) with one operation a variable in place of a dozen.

    Formula, variables and their names are Keras's.
    """

    def update_step(self, gradient, variable, learning_rate):
        index, updates = self._get_variable_index(variable), tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, updates),
            beta2_power=tf.pow(self.beta_2, updates),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def take_summed_gradients(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The same optimizer, which no longer sums the gradients that it is given over the replicas."""
    optimizer._all_reduce_sum_gradients = list
    return optimizer
